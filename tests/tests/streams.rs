//! Acceptance 2, streams: logs, exec, attach, cp, port-forward.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xebec_tests::{Namespace, PATIENCE, Stream, get, namespaced, program, setting, shell_pod, until, web};

fn shell(ns: &Namespace) -> Result<()> {
    ns.apply(shell_pod("shell", "sleep 600"))?;
    ns.ready("shell")
}

#[test]
fn logs_whole_tail_since_and_with_times() -> Result<()> {
    namespaced("logs", |ns| {
        ns.apply(shell_pod("pod", "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; sleep 600"))?;
        ns.ready("pod")?;
        let all = until("ten lines", PATIENCE, || {
            let text = ns.kubectl("logs pod").ok()?;
            Ok((text.lines().count() == 10).then_some(text))
        })?;
        for i in 1..=5 {
            ensure!(all.contains(&format!("out {i}\n")) && all.contains(&format!("err {i}\n")), "{all}");
        }
        let out: Vec<_> = all.lines().filter(|line| line.starts_with("out")).collect();
        ensure!(out == ["out 1", "out 2", "out 3", "out 4", "out 5"], "order of one stream: {all}");
        ensure!(ns.kubectl("logs pod --tail=3").ok()?.lines().count() == 3);
        ensure!(ns.kubectl("logs pod --tail=0").ok()?.is_empty());
        ensure!(ns.kubectl("logs pod --limit-bytes=6").ok()?.len() == 6);
        ensure!(ns.kubectl("logs pod --since=1h").ok()? == all);
        let stamped = ns.kubectl("logs pod --timestamps --tail=1").ok()?;
        let year = stamped.get(..4).and_then(|year| year.parse::<u32>().ok());
        ensure!(year.is_some_and(|year| year >= 2024) && stamped.contains('T'), "{stamped}");
        let labelled = ns.kubectl("logs -l app=pod --prefix --tail=1").ok()?;
        ensure!(labelled.starts_with("[pod/pod/main] "), "{labelled}");
        ns.kubectl("logs pod -c nothing").fails("container nothing is not valid for pod pod")?;
        Ok(())
    })
}

#[test]
fn logs_follow_until_the_end() -> Result<()> {
    namespaced("follow", |ns| {
        let script = "echo first; while [ ! -e /tmp/go ]; do usleep 50000; done; echo second";
        ns.apply(shell_pod("pod", script).spec(json!({"restartPolicy": "Never"})))?;
        ns.ready("pod")?;
        let mut log = ns.kubectl("logs -f pod").stream()?;
        log.line("the line that was there", |line| line == "first")?;
        ns.exec("pod", "touch /tmp/go")?;
        log.line("the line that came later", |line| line == "second")?;
        let (lines, code) = log.end()?;
        ensure!(code == Some(0) && lines.len() == 2, "it ends with the container: {code:?} {lines:?}");
        Ok(())
    })
}

#[test]
fn logs_of_the_previous_container() -> Result<()> {
    namespaced("previous", |ns| {
        let script =
            "if [ -e /keep/ran ]; then echo second; sleep 600; fi; touch /keep/ran; echo first; exit 1";
        let pod = shell_pod("pod", script)
            .container(json!({"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]}))
            .spec(json!({"volumes": [{"name": "keep", "emptyDir": {}}]}));
        ns.apply(pod)?;
        ns.until_field("pod/pod", ".status.containerStatuses[0].restartCount", "1")?;
        ns.ready("pod")?;
        ensure!(ns.kubectl("logs pod --previous").ok()? == "first\n");
        until("the second container's line", PATIENCE, || {
            Ok((ns.kubectl("logs pod").ok()? == "second\n").then_some(()))
        })
    })
}

#[test]
fn exec_output_exit_code_and_input() -> Result<()> {
    namespaced("exec", |ns| {
        shell(ns)?;
        let both = ns.kubectl("exec shell -- sh -c 'echo out; echo err >&2'").done()?;
        ensure!(both.stdout == "out\n" && both.stderr.contains("err\n"), "{both}");
        let seven = ns.kubectl("exec shell -- sh -c 'exit 7'").run()?;
        ensure!(seven.code == Some(7), "the command's exit code is kubectl's: {seven}");
        ensure!(seven.stderr.contains("command terminated with exit code 7"), "{seven}");
        let echoed = ns.kubectl("exec -i shell -- cat").stdin("one\ntwo\n").ok()?;
        ensure!(echoed == "one\ntwo\n", "{echoed:?}");
        let big = "0123456789abcdef".repeat(64 * 1024);
        let count = ns.kubectl("exec -i shell -- wc -c").stdin(big.clone()).ok()?;
        ensure!(count.trim() == big.len().to_string(), "{count}");
        let back = ns.kubectl("exec shell -- head -c 1048576 /dev/zero").ok()?;
        ensure!(back.len() == 1_048_576, "{} bytes came back", back.len());
        ns.kubectl("exec shell -- /no/such/program").fails("no such file or directory")?;
        ns.kubectl("exec shell -c nothing -- true").fails("container nothing is not valid for pod shell")?;
        Ok(())
    })
}

#[test]
fn exec_with_a_terminal() -> Result<()> {
    namespaced("tty", |ns| {
        shell(ns)?;
        let kubectl = setting("XEBEC_KUBECTL")?;
        // `script` gives kubectl the terminal that -t asks for.
        // The size travels beside the command's start, so the command waits for it.
        let command = "tty; for i in $(seq 100); do s=$(stty size); [ \"$s\" = \"33 77\" ] && break; usleep 100000; done; echo $s";
        let inside =
            format!("stty rows 33 cols 77; {kubectl} exec -it -n {} shell -- sh -c '{command}'", ns.name);
        let text = program("script").words("-q -e -c").arg(inside).arg("/dev/null").ok()?;
        ensure!(text.contains("/dev/pts/"), "no terminal inside: {text:?}");
        ensure!(text.contains("33 77"), "the terminal's size did not arrive: {text:?}");
        Ok(())
    })
}

#[test]
fn attach_sees_what_is_written_and_feeds_input() -> Result<()> {
    namespaced("attach", |ns| {
        let script = "while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 0; done; sleep 600";
        let pod = shell_pod("pod", script)
            .container(json!({"stdin": true, "stdinOnce": true}))
            .spec(json!({"restartPolicy": "Never"}));
        ns.apply(pod)?;
        ns.ready("pod")?;
        let said = ns.kubectl("attach -i pod").stdin("one\nend\n").run()?;
        ns.until_field("pod/pod", ".status.phase", "Succeeded")?;
        ensure!(ns.kubectl("logs pod").ok()? == "got one\ngot end\n", "{said}");
        Ok(())
    })
}

#[test]
fn cp_both_ways() -> Result<()> {
    namespaced("cp", |ns| {
        shell(ns)?;
        let folder = tempfile::tempdir()?;
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::create_dir_all(folder.path().join("tree/sub"))?;
        std::fs::write(folder.path().join("tree/a"), &bytes)?;
        std::fs::write(folder.path().join("tree/sub/b"), "small")?;
        let here = |name: &str| folder.path().join(name).display().to_string();
        ns.kubectl("cp").arg(here("tree")).arg("shell:/tmp/tree").ok()?;
        ensure!(ns.exec("shell", "cat /tmp/tree/sub/b")? == "small");
        ns.kubectl("cp shell:/tmp/tree").arg(here("back")).ok()?;
        ensure!(std::fs::read(folder.path().join("back/a"))? == bytes, "the bytes differ after both ways");
        ensure!(std::fs::read(folder.path().join("back/sub/b"))? == b"small");
        Ok(())
    })
}

/// Where a port-forward listens.
fn forwarding(stream: &mut Stream) -> Result<SocketAddr> {
    let line = stream.line("it forwards", |line| line.starts_with("Forwarding from 127.0.0.1:"))?;
    let address = line.split_whitespace().nth(2).context("no address")?;
    address.parse().with_context(|| format!("no address in {line:?}"))
}

#[test]
fn port_forward_to_a_pod_and_a_service() -> Result<()> {
    namespaced("forward", |ns| {
        ns.apply(web("web", 1))?;
        ns.rolled_out("web")?;
        let pod = &ns.pods("app=web")?[0];
        for (target, port) in [(format!("pod/{pod}"), 8080), ("service/web".to_owned(), 80)] {
            let mut stream = ns.kubectl("port-forward").arg(&target).arg(format!(":{port}")).stream()?;
            let address = forwarding(&mut stream)?;
            for _ in 0..3 {
                let answer = get(address, "/")?;
                ensure!(
                    answer.status == 200 && answer.body.starts_with(pod.as_str()),
                    "{target}: {answer:?}"
                );
            }
        }
        let log = ns.kubectl("logs").arg(pod).ok()?;
        ensure!(log.matches("served name=").count() == 6, "the server saw other requests than ours: {log}");
        Ok(())
    })
}
