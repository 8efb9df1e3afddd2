#!/usr/bin/env python3
"""`helm lint CHART` and `helm template NAME CHART ...` by Helm's engine as a library.

helm-sdkpy (PyPI, Python 3.12 or later) can install but not only render: what it renders is
installed in the scratch cluster of $KUBECONFIG, and removed again.
"""

import argparse
import asyncio
import json
import os
import sys

from helm_sdkpy import Configuration, Install, Lint, Uninstall, Upgrade


async def lint(configuration, chart):
    report = await Lint(configuration).run(chart)
    print(json.dumps(report))
    # 3 is an error: Helm's own lint fails from there on.
    return any(message["Severity"] >= 3 for message in report["Messages"] or [])


async def template(configuration, options, name, chart):
    with open(options.values) as file:
        values = json.load(file)
    try:
        release = await Install(configuration).run(
            name, chart, values, wait=False, create_namespace=True
        )
        if options.is_upgrade:
            release = await Upgrade(configuration).run(name, chart, values, wait=False)
        print(release.get("manifest", ""))
    finally:
        try:
            await Uninstall(configuration).run(name, wait=False)
        except Exception as error:
            print(f"remove {name}: {error}", file=sys.stderr)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["lint", "template"])
    parser.add_argument("operands", nargs="+")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--values")
    parser.add_argument("--is-upgrade", action="store_true")
    parser.add_argument("--kube-version", help="not asked: it is the cluster's")
    options = parser.parse_intermixed_args()
    configuration = Configuration(options.namespace, os.environ["KUBECONFIG"])
    if options.command == "lint":
        return await lint(configuration, *options.operands)
    await template(configuration, options, *options.operands)


try:
    sys.exit(asyncio.run(main()))
except Exception as error:
    sys.exit(f"Error: {error}")
