//! Kubernetes' named formats: `format.dns1123Label().validate(s)` gives the mistakes, or nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use xebec_api::names;

use super::{Args, url};
use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::function::Def;
use crate::value::{Opaque, Value, time};

/// A format by name.
#[derive(Debug)]
pub struct NamedFormat {
    /// The name that tells formats apart.
    pub(crate) name: &'static str,
    /// The length that its regular expression is taken to have, for costs.
    pub(crate) regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

macro_rules! formats {
    ($($name:literal, $function:ident, $constant:ident, $shown:literal, $size:literal, $check:expr;)*) => {
        $(
            static $constant: NamedFormat = NamedFormat { name: $shown, regex_size: $size, check: $check };

            fn $function<'a>(_: &mut Ctx, _: &[Value<'a>]) -> EvalResult<Value<'a>> {
                Ok(Value::Opaque(Opaque::Format(&$constant)))
            }
        )*

        fn by_name(name: &str) -> Option<&'static NamedFormat> {
            match name {
                $($name => Some(&$constant),)*
                _ => None,
            }
        }

        pub(super) const DEFS: &[Def] = &[
            ("format-named", "format.named(string): optional(kubernetes.NamedFormat)", named),
            ("format-validate", "kubernetes.NamedFormat!validate(string): optional(list(string))", validate),
            $((concat!("format.", $name), concat!("format.", $name, "(): kubernetes.NamedFormat"), $function),)*
        ];
    };
}

formats! {
    "dns1123Label", dns1123_label, DNS1123_LABEL, "DNS1123Label", 30, names::is_dns1123_label;
    "dns1123Subdomain", dns1123_subdomain, DNS1123_SUBDOMAIN, "DNS1123Subdomain", 60, names::is_dns1123_subdomain;
    "dns1035Label", dns1035_label, DNS1035_LABEL, "DNS1035Label", 30, names::is_dns1035_label;
    "qualifiedName", qualified_name, QUALIFIED_NAME, "QualifiedName", 60, names::is_qualified_name;
    "dns1123LabelPrefix", dns1123_label_prefix, DNS1123_LABEL_PREFIX, "DNS1123LabelPrefix", 30,
        |text| names::is_dns1123_label(&prefix(text));
    "dns1123SubdomainPrefix", dns1123_subdomain_prefix, DNS1123_SUBDOMAIN_PREFIX, "DNS1123SubdomainPrefix", 60,
        |text| names::is_dns1123_subdomain(&prefix(text));
    "dns1035LabelPrefix", dns1035_label_prefix, DNS1035_LABEL_PREFIX, "DNS1035LabelPrefix", 30,
        |text| names::is_dns1035_label(&prefix(text));
    "labelValue", label_value, LABEL_VALUE, "LabelValue", 40, names::is_label_value;
    "uri", uri, URI, "URI", 1103, |text| url::invalid(text).into_iter().collect();
    "uuid", uuid, UUID, "uuid", 77, |text| wrong(!is_uuid(text), "does not match the UUID format");
    "byte", byte, BYTE, "byte", 84, |text| wrong(STANDARD.decode(text).is_err(), "invalid base64");
    "date", date, DATE, "date", 166, |text| wrong(!is_date(text), "invalid date");
    "datetime", datetime, DATETIME, "datetime", 166,
        |text| wrong(time::parse_timestamp(text).is_none(), "invalid datetime");
}

fn wrong(wrong: bool, why: &str) -> Vec<String> {
    if wrong { vec![why.to_owned()] } else { Vec::new() }
}

/// A prefix of a name may end in a dash, which the part that is generated will follow.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

/// Groups of 8, 4, 4, 4 and 12 hexadecimal digits; the dashes may be left out.
fn is_uuid(text: &str) -> bool {
    let mut digits = 0;
    for c in text.bytes() {
        match c {
            b'-' if [8, 12, 16, 20].contains(&digits) => {}
            c if c.is_ascii_hexdigit() => digits += 1,
            _ => return false,
        }
    }
    digits == 32 && !text.contains("--") && !text.ends_with('-')
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn named<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    Ok(match by_name(args.string(0)?) {
        Some(format) => Value::some(Value::Opaque(Opaque::Format(format))),
        None => Value::Optional(None),
    })
}

fn validate<'a>(_: &mut Ctx, args: &[Value<'a>]) -> EvalResult<Value<'a>> {
    let Opaque::Format(format) = args.opaque(0)? else { return Err(EvalError::no_overload()) };
    let mistakes = (format.check)(args.string(1)?);
    Ok(match mistakes.is_empty() {
        true => Value::Optional(None),
        false => Value::some(Value::list(mistakes.into_iter().map(Value::from).collect())),
    })
}
