//! String, header, query and route matchers.

use http::HeaderName;
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::r#type::matcher::v3 as matcher;

use crate::compile::{Unset, flag, nothing_left, runtime_share, take};
use crate::conditions::{HeaderCondition, HeaderKey, HeaderTest, QueryCondition};
use crate::error::{At, Refused};
use crate::rewrite::Substitution;
use crate::strings::{IgnoreCase, StringMatcher, bad_pattern};
use crate::table::matcher::{PathMatcher, RouteMatcher};

pub(crate) fn string(matcher: matcher::StringMatcher) -> Result<StringMatcher, Refused> {
    use matcher::string_matcher::MatchPattern;
    let compiled = match matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatcher::exact(&text),
        Some(MatchPattern::Prefix(text)) => StringMatcher::prefix(&text),
        Some(MatchPattern::Suffix(text)) => StringMatcher::suffix(&text),
        Some(MatchPattern::Contains(text)) => StringMatcher::contains(&text),
        Some(MatchPattern::SafeRegex(regex)) => {
            return StringMatcher::regex(&regex.regex).at(|| "safe_regex".to_owned());
        }
        Some(MatchPattern::Custom(_)) => return Err(Refused::unsupported("custom")),
        None => return Err(Refused::missing("match_pattern")),
    };
    Ok(compiled.ignoring_case(IgnoreCase::from(matcher.ignore_case)))
}

/// A list of string matchers; `field` for the path.
pub(crate) fn strings(
    list: Vec<matcher::StringMatcher>,
    field: &str,
) -> Result<Vec<StringMatcher>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, one)| string(one).at(|| format!("{field}[{at}]")))
        .collect()
}

/// A pattern with a substitution; RE2's `\1` becomes `${1}`.
pub(crate) fn substitution(
    rewrite: matcher::RegexMatchAndSubstitute,
) -> Result<Substitution, Refused> {
    let pattern = rewrite
        .pattern
        .ok_or_else(|| Refused::missing("pattern"))?
        .regex;
    let compiled = regex::Regex::new(&pattern)
        .map_err(|error| bad_pattern(&pattern, &error))
        .at(|| "pattern".to_owned())?;
    let mut to = String::with_capacity(rewrite.substitution.len());
    let mut characters = rewrite.substitution.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            ('$', _) => to.push_str("$$"),
            (_, false) => to.push(character),
            (_, true) => match characters.next() {
                Some('\\') => to.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    to.push_str("${");
                    to.push(digit);
                    to.push('}');
                }
                _ => {
                    return Err(Refused::field(
                        "substitution",
                        "`\\` must be followed by a digit or `\\`",
                    ));
                }
            },
        }
    }
    Ok(Substitution {
        pattern: compiled,
        to: to.into(),
    })
}

/// A header's name, pseudo-headers included.
pub(crate) fn header_key(name: &str) -> Result<HeaderKey, Refused> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":path" => HeaderKey::Path,
        ":method" => HeaderKey::Method,
        ":authority" | "host" => HeaderKey::Authority,
        ":scheme" => HeaderKey::Scheme,
        field => HeaderKey::Field(header_name(field)?),
    })
}

/// An ordinary header's name.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, Refused> {
    HeaderName::try_from(name).map_err(|_| Refused::new(format!("{name:?} is not a header name")))
}

pub(crate) fn header(condition: route::HeaderMatcher) -> Result<HeaderCondition, Refused> {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let text = |matcher: StringMatcher| HeaderTest::Text(matcher);
    let test = match condition.header_match_specifier {
        Some(Specifier::ExactMatch(want)) => text(StringMatcher::exact(&want)),
        Some(Specifier::PrefixMatch(want)) => text(StringMatcher::prefix(&want)),
        Some(Specifier::SuffixMatch(want)) => text(StringMatcher::suffix(&want)),
        Some(Specifier::ContainsMatch(want)) => text(StringMatcher::contains(&want)),
        Some(Specifier::SafeRegexMatch(regex)) => {
            text(StringMatcher::regex(&regex.regex).at(|| "safe_regex_match".to_owned())?)
        }
        Some(Specifier::StringMatch(matcher)) => {
            text(string(matcher).at(|| "string_match".to_owned())?)
        }
        Some(Specifier::RangeMatch(range)) => HeaderTest::Range(range.start, range.end),
        Some(Specifier::PresentMatch(wanted)) => HeaderTest::Present(wanted),
        None => HeaderTest::Present(true),
    };
    Ok(HeaderCondition {
        name: header_key(&condition.name).at(|| "name".to_owned())?,
        test,
        invert: condition.invert_match,
        missing_is_empty: condition.treat_missing_header_as_empty,
    })
}

/// A list of header conditions.
pub(crate) fn headers(list: Vec<route::HeaderMatcher>) -> Result<Vec<HeaderCondition>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, one)| header(one).at(|| format!("headers[{at}]")))
        .collect()
}

fn query(condition: route::QueryParameterMatcher) -> Result<QueryCondition, Refused> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let (value, present) = match condition.query_parameter_match_specifier {
        Some(Specifier::StringMatch(matcher)) => (
            Some(string(matcher).at(|| "string_match".to_owned())?),
            true,
        ),
        Some(Specifier::PresentMatch(wanted)) => (None, wanted),
        None => (None, true),
    };
    Ok(QueryCondition {
        name: condition.name.into(),
        value,
        present,
    })
}

/// A route's match.
pub(crate) fn route_match(mut matches: route::RouteMatch) -> Result<RouteMatcher, Refused> {
    let case_sensitive = flag(take(&mut matches.case_sensitive), Unset::True);
    let path = path(
        take(&mut matches.path_specifier),
        IgnoreCase::from(!case_sensitive),
    )?;
    let query = take(&mut matches.query_parameters)
        .into_iter()
        .enumerate()
        .map(|(at, one)| query(one).at(|| format!("query_parameters[{at}]")))
        .collect::<Result<_, _>>()?;
    let compiled = RouteMatcher {
        path,
        headers: headers(take(&mut matches.headers))?,
        query,
        fraction: runtime_share(take(&mut matches.runtime_fraction))
            .at(|| "runtime_fraction".to_owned())?,
        grpc: take(&mut matches.grpc).is_some(),
    };
    nothing_left(&matches)?;
    Ok(compiled)
}

fn path(
    specifier: Option<route::route_match::PathSpecifier>,
    ignore_case: IgnoreCase,
) -> Result<PathMatcher, Refused> {
    use route::route_match::PathSpecifier as Specifier;
    let sensitive = ignore_case == IgnoreCase::No;
    Ok(match specifier {
        Some(Specifier::Path(path)) if sensitive => PathMatcher::Exact(path.into()),
        Some(Specifier::Path(path)) => PathMatcher::ExactAnyCase(path.into()),
        Some(Specifier::Prefix(prefix)) if sensitive => PathMatcher::Prefix(prefix.into()),
        Some(Specifier::Prefix(prefix)) => PathMatcher::PrefixAnyCase(prefix.into()),
        Some(Specifier::PathSeparatedPrefix(prefix))
            if prefix.ends_with('/') || prefix.is_empty() =>
        {
            return Err(Refused::field(
                "path_separated_prefix",
                "must not be empty or end with a slash",
            ));
        }
        Some(Specifier::PathSeparatedPrefix(prefix)) if sensitive => {
            PathMatcher::SeparatedPrefix(prefix.into())
        }
        Some(Specifier::PathSeparatedPrefix(prefix)) => {
            PathMatcher::SeparatedPrefixAnyCase(prefix.into())
        }
        Some(Specifier::SafeRegex(regex)) => {
            PathMatcher::Regex(StringMatcher::regex(&regex.regex).at(|| "safe_regex".to_owned())?)
        }
        Some(Specifier::ConnectMatcher(_)) => PathMatcher::Connect,
        Some(Specifier::PathMatchPolicy(_)) => {
            return Err(Refused::unsupported("path_match_policy"));
        }
        None => return Err(Refused::missing("path_specifier")),
    })
}
