//! Two versions of a server, and the routes to them.

/// Namespace, service and both versions.
pub(super) fn servers() -> String {
    let mut text = String::from(SERVICE);
    for version in ["v1", "v2"] {
        text += &DEPLOYMENT.replace("VERSION", version);
    }
    text
}

const SERVICE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: traffic, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: traffic}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9001}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: traffic}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

const DEPLOYMENT: &str = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-VERSION, namespace: traffic}
spec:
  selector: {matchLabels: {app: shop, version: VERSION}}
  template:
    metadata: {labels: {app: shop, version: VERSION}}
    spec:
      containers:
        - name: shop
          image: mesh/echo:latest
          imagePullPolicy: IfNotPresent
          args: [serve, --http, '8080', --greet, '9001', --name, shop-VERSION]
          ports: [{containerPort: 8080}, {containerPort: 9001}]
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
";

/// A route for each kind of match leads to v2, everything else to v1.
pub(super) const MATCHES: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: traffic}
spec:
  hosts: [shop.traffic.svc.cluster.local]
  http:
    - match:
        - uri: {exact: /exact}
        - {uri: {prefix: /prefix}, ignoreUriCase: true}
        - uri: {regex: "/regex[0-9]+"}
        - headers: {x-exact: {exact: a}}
        - headers: {x-prefix: {prefix: a}}
        - headers: {x-regex: {regex: "a.c"}}
        - {headers: {x-present: {}}, withoutHeaders: {x-absent: {exact: "no"}}}
        - method: {exact: PUT}
        - authority: {prefix: other}
        - queryParams: {q: {exact: "1"}}
        - {uri: {prefix: /of-client}, sourceLabels: {app: client}, sourceNamespace: echo}
        - {uri: {prefix: /of-another}, sourceLabels: {app: another}}
        - {uri: {prefix: /from-elsewhere}, sourceNamespace: elsewhere}
      route: [{destination: {host: shop, subset: v2, port: {number: 80}}}]
    - route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
"#;

/// Everything that a route can do beside choosing a destination.
pub(super) const ACTIONS: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: traffic}
spec:
  hosts: [shop.traffic.svc.cluster.local]
  http:
    - match: [{uri: {prefix: /redirect}}]
      redirect: {uri: /new, authority: other.example, scheme: https, redirectCode: 307}
    - match: [{uri: {prefix: /rewrite}}]
      rewrite: {uri: /rewritten, authority: new.example}
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - match: [{uri: {prefix: /pattern}}]
      rewrite: {uriRegexRewrite: {match: "/pattern/(.*)", rewrite: '/found/\1'}}
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - match: [{uri: {prefix: /headers}}]
      headers:
        request: {set: {x-set: new}, add: {x-add: two}, remove: [x-gone]}
        response: {set: {x-answer: told}}
      route:
        - destination: {host: shop, subset: v1, port: {number: 80}}
          headers: {request: {add: {x-destination: v1}}, response: {remove: [x-envoy-upstream-service-time]}}
    - match: [{uri: {prefix: /direct}}]
      directResponse: {status: 418, body: {string: teapot}}
    - match: [{uri: {prefix: /status/503}}]
      retries: {attempts: 2, retryOn: 5xx, perTryTimeout: 2s}
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - match: [{uri: {prefix: /abort}}]
      fault: {abort: {httpStatus: 555, percentage: {value: 50}}}
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - match: [{uri: {prefix: /mirror}}]
      mirror: {host: shop, subset: v2, port: {number: 80}}
      mirrorPercentage: {value: 100}
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - match: [{uri: {prefix: /cors}}]
      corsPolicy:
        allowOrigins: [{exact: "https://a.example"}]
        allowMethods: [GET, PUT]
        allowHeaders: [x-h]
        maxAge: 1h
        allowCredentials: true
      route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
    - route: [{destination: {host: shop, subset: v1, port: {number: 80}}}]
"#;

/// Connections by weight.
pub(super) const CONNECTIONS: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: traffic}
spec:
  hosts: [shop.traffic.svc.cluster.local]
  tcp:
    - match: [{port: 9001}]
      route:
        - {destination: {host: shop, subset: v1, port: {number: 9001}}, weight: 75}
        - {destination: {host: shop, subset: v2, port: {number: 9001}}, weight: 25}
";
