//! Access logs.

use std::sync::Arc;

use mesh_xds::envoy::config::accesslog::v3 as access;
use mesh_xds::envoy::config::core::v3 as core;
use mesh_xds::envoy::extensions::access_loggers::file::v3 as file;
use mesh_xds::google::protobuf as pb;

use crate::access_log::{AccessLogFilter, AccessLogFormat, AccessLogSpec, Comparison};
use crate::compile::{known, millionths, name, take, type_name, unpack};
use crate::error::{At, Refused};

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const STDERR: &str = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";

pub(crate) fn logs(list: Vec<access::AccessLog>) -> Result<Vec<AccessLogSpec>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, one)| log(one).at(|| format!("access_log[{at}]")))
        .collect()
}

fn log(log: access::AccessLog) -> Result<AccessLogSpec, Refused> {
    let filter = log
        .filter
        .map(filter)
        .transpose()
        .at(|| "filter".to_owned())?;
    let Some(access::access_log::ConfigType::TypedConfig(any)) = log.config_type else {
        return Err(Refused::missing("typed_config"));
    };
    let at = || "typed_config".to_owned();
    let (path, format) = match type_name(&any) {
        FILE => {
            let mut config: file::FileAccessLog = unpack(&any)?;
            let path = name(&config.path);
            (
                path,
                file_format(take(&mut config.access_log_format)).at(at)?,
            )
        }
        STDOUT => (name("/dev/stdout"), stdout_format(&any).at(at)?),
        STDERR => (name("/dev/stderr"), stderr_format(&any).at(at)?),
        unknown => {
            return Err(Refused::field(
                "typed_config",
                format!("access logger {unknown} is not supported by this proxy"),
            ));
        }
    };
    Ok(AccessLogSpec {
        path,
        format,
        filter,
    })
}

fn stdout_format(any: &pb::Any) -> Result<AccessLogFormat, Refused> {
    use mesh_xds::envoy::extensions::access_loggers::stream::v3 as stream;
    let config: stream::StdoutAccessLog = unpack(any)?;
    match config.access_log_format {
        Some(stream::stdout_access_log::AccessLogFormat::LogFormat(format)) => substitution(format),
        None => Ok(AccessLogFormat::Default),
    }
}

fn stderr_format(any: &pb::Any) -> Result<AccessLogFormat, Refused> {
    use mesh_xds::envoy::extensions::access_loggers::stream::v3 as stream;
    let config: stream::StderrAccessLog = unpack(any)?;
    match config.access_log_format {
        Some(stream::stderr_access_log::AccessLogFormat::LogFormat(format)) => substitution(format),
        None => Ok(AccessLogFormat::Default),
    }
}

fn file_format(
    format: Option<file::file_access_log::AccessLogFormat>,
) -> Result<AccessLogFormat, Refused> {
    use file::file_access_log::AccessLogFormat as Format;
    match format {
        None => Ok(AccessLogFormat::Default),
        Some(Format::Format(text)) if text.is_empty() => Ok(AccessLogFormat::Default),
        Some(Format::Format(text)) => Ok(AccessLogFormat::Text(name(&text))),
        Some(Format::JsonFormat(fields) | Format::TypedJsonFormat(fields)) => json(fields),
        Some(Format::LogFormat(format)) => substitution(format).at(|| "log_format".to_owned()),
    }
}

fn substitution(format: core::SubstitutionFormatString) -> Result<AccessLogFormat, Refused> {
    use core::substitution_format_string::Format;
    if let Some(at) = format.formatters.iter().position(|formatter| {
        // Istio adds these two to every format; the proxy knows their commands itself.
        !matches!(
            formatter.name.as_str(),
            "envoy.formatter.req_without_query" | "envoy.formatter.metadata"
        )
    }) {
        return Err(Refused::unsupported(format!("formatters[{at}]")));
    }
    match format.format {
        Some(Format::TextFormat(text)) => Ok(AccessLogFormat::Text(name(&text))),
        Some(Format::TextFormatSource(source)) => match source.specifier {
            Some(core::data_source::Specifier::InlineString(text)) => {
                Ok(AccessLogFormat::Text(name(&text)))
            }
            _ => Err(Refused::field(
                "text_format_source",
                "only inline_string is supported by this proxy",
            )),
        },
        Some(Format::JsonFormat(fields)) => json(fields),
        None => Ok(AccessLogFormat::Default),
    }
}

fn json(fields: pb::Struct) -> Result<AccessLogFormat, Refused> {
    let one = |(key, value): (String, pb::Value)| -> Result<(Arc<str>, Arc<str>), Refused> {
        match value.kind {
            Some(pb::value::Kind::StringValue(template)) => Ok((key.into(), template.into())),
            _ => Err(Refused::field(
                format!("json_format.{key}"),
                "only text values are supported by this proxy",
            )),
        }
    };
    fields
        .fields
        .into_iter()
        .map(one)
        .collect::<Result<_, _>>()
        .map(AccessLogFormat::Json)
}

fn filter(filter: access::AccessLogFilter) -> Result<AccessLogFilter, Refused> {
    use access::access_log_filter::FilterSpecifier as Source;
    let many = |list: Vec<access::AccessLogFilter>| {
        list.into_iter()
            .map(self::filter)
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match filter.filter_specifier {
        Some(Source::StatusCodeFilter(status)) => {
            let (how, value) = comparison(status.comparison)?;
            AccessLogFilter::Status(how, value)
        }
        Some(Source::DurationFilter(duration)) => {
            let (how, value) = comparison(duration.comparison)?;
            AccessLogFilter::DurationMillis(how, value)
        }
        Some(Source::NotHealthCheckFilter(_)) => AccessLogFilter::NotHealthCheck,
        Some(Source::ResponseFlagFilter(flags)) => {
            AccessLogFilter::ResponseFlags(flags.flags.iter().map(|flag| name(flag)).collect())
        }
        Some(Source::RuntimeFilter(runtime)) => AccessLogFilter::Runtime(
            runtime
                .percent_sampled
                .map_or(Ok(0), |share| millionths(&share))?,
        ),
        Some(Source::GrpcStatusFilter(status)) => AccessLogFilter::GrpcStatus {
            codes: status
                .statuses
                .iter()
                .filter_map(|code| u16::try_from(*code).ok())
                .collect(),
            exclude: status.exclude,
        },
        Some(Source::AndFilter(and)) => AccessLogFilter::And(many(and.filters)?),
        Some(Source::OrFilter(or)) => AccessLogFilter::Or(many(or.filters)?),
        Some(_) => {
            return Err(Refused::new(
                "a filter of this kind is not supported by this proxy",
            ));
        }
        None => return Err(Refused::missing("filter_specifier")),
    })
}

fn comparison(comparison: Option<access::ComparisonFilter>) -> Result<(Comparison, u32), Refused> {
    use access::comparison_filter::Op;
    let comparison = comparison.ok_or_else(|| Refused::missing("comparison"))?;
    let how = match known(comparison.op, "op")? {
        Op::Eq => Comparison::Equal,
        Op::Ge => Comparison::AtLeast,
        Op::Le => Comparison::AtMost,
        Op::Ne => Comparison::NotEqual,
    };
    Ok((how, comparison.value.map_or(0, |value| value.default_value)))
}
