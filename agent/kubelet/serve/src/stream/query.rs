//! Queries of streaming requests. Enters: pairs. Leaves: what to ask the runtime for, or upstream's words (400).

use super::Streams;

pub(super) type Pairs = [(String, String)];

/// The streams of exec and attach.
pub(super) fn streams(pairs: &Pairs) -> Result<Streams, &'static str> {
    let on = |names: [&str; 2]| {
        pairs.iter().any(|(key, value)| names.contains(&key.as_str()) && (value == "1" || value == "true"))
    };
    let tty = on(["tty", "tty"]);
    let streams = Streams {
        stdin: on(["input", "stdin"]),
        stdout: on(["output", "stdout"]),
        // a terminal has one output only
        stderr: on(["error", "stderr"]) && !tty,
        tty,
    };
    if !streams.stdin && !streams.stdout && !streams.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok(streams)
}

/// Every value of a repeated parameter, in order.
pub(super) fn all(pairs: &Pairs, name: &str) -> Vec<String> {
    pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
}

/// The ports of a port forward by WebSocket, where the query must name them.
pub(super) fn websocket_ports(pairs: &Pairs) -> Result<Vec<u16>, String> {
    let values = all(pairs, "port");
    if values.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    let mut ports = Vec::new();
    for value in values {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for port in value.split(',') {
            match port.parse::<u16>() {
                Ok(0) => return Err(format!("port \"{port}\" must be > 0")),
                Ok(port) => ports.push(port),
                Err(error) => return Err(format!("unable to parse \"{port}\" as a port: {error}")),
            }
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn streams_have_two_names_and_a_terminal_no_stderr() {
        let got = streams(&pairs(&[("input", "1"), ("output", "1"), ("error", "1")])).unwrap();
        assert_eq!(got, Streams { stdin: true, stdout: true, stderr: true, tty: false });
        let got = streams(&pairs(&[("stdout", "true"), ("stderr", "true"), ("tty", "1")])).unwrap();
        assert_eq!(got, Streams { stdin: false, stdout: true, stderr: false, tty: true });
        assert!(streams(&pairs(&[("error", "1"), ("tty", "1")])).is_err());
        assert!(streams(&pairs(&[("output", "0")])).is_err());
    }

    #[test]
    fn commands_keep_their_order_and_blanks() {
        let query = pairs(&[("command", "sh"), ("tty", "1"), ("command", "-c"), ("command", " a b&c ")]);
        assert_eq!(all(&query, "command"), ["sh", "-c", " a b&c "]);
    }

    #[test]
    fn websocket_ports_must_be_named_and_good() {
        assert_eq!(
            websocket_ports(&pairs(&[("port", "80,443"), ("port", "8080")])).unwrap(),
            [80, 443, 8080]
        );
        for bad in [&[][..], &[("port", "")], &[("port", "0")], &[("port", "65536")], &[("port", "80,")]] {
            assert!(websocket_ports(&pairs(bad)).is_err(), "{bad:?}");
        }
    }
}
