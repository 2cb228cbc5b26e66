//! Running programs. Enters: a command line. Leaves: its output, or an error that shows command and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::PATIENCE;

/// A program call that has not been made yet.
pub struct Call {
    command: Command,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
}

/// kubectl with these arguments: split at white space, 'single quotes' hold a word together.
pub fn kubectl(line: &str) -> Call {
    let path = std::env::var("XEBEC_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    program(path).words(line)
}

/// Any program.
pub fn program(path: impl AsRef<Path>) -> Call {
    Call { command: Command::new(path.as_ref()), stdin: None, timeout: PATIENCE }
}

impl Call {
    /// Adds arguments: split at white space, 'single quotes' hold a word together.
    pub fn words(mut self, line: &str) -> Self {
        self.command.args(words(line));
        self
    }

    /// Adds one argument as it is.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Feeds standard input and closes it.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Kills the program after this long; the default is [`PATIENCE`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs to the end, whatever the exit code.
    ///
    /// # Errors
    /// It could not start, or it did not end in time (what it had said is shown).
    pub fn run(mut self) -> Result<Output> {
        let shown = self.show();
        let input = self.stdin.take();
        self.command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.spawn_piped()?;
        let stdout = Collector::of(child.stdout.take());
        let stderr = Collector::of(child.stderr.take());
        if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
            // A program that does not read its input to the end breaks the pipe: its exit code tells.
            std::thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > self.timeout {
                child.kill().and_then(|()| child.wait())?;
                let (out, err) = (stdout.so_far(), stderr.so_far());
                bail!("{shown}\nnot within {} s\nstdout: {out}\nstderr: {err}", self.timeout.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Output { stdout: stdout.all(), stderr: stderr.all(), code: status.code() })
    }

    /// Runs and expects success; standard output is returned.
    ///
    /// # Errors
    /// Another exit code than 0, with everything the program said.
    pub fn ok(self) -> Result<String> {
        Ok(self.done()?.stdout)
    }

    /// Runs and expects success; both streams are returned.
    ///
    /// # Errors
    /// Another exit code than 0, with everything the program said.
    pub fn done(self) -> Result<Output> {
        let shown = self.show();
        let output = self.run()?;
        ensure!(output.code == Some(0), "{shown}\nfailed: {output}");
        Ok(output)
    }

    /// Runs, expects failure, and expects this text in what it said; standard error is returned.
    ///
    /// # Errors
    /// It succeeded, or failed with other words.
    pub fn fails(self, text: &str) -> Result<String> {
        let shown = self.show();
        let output = self.run()?;
        ensure!(output.code != Some(0), "{shown}\nsucceeded, expected the failure {text:?}: {output}");
        let said = output.stdout.contains(text) || output.stderr.contains(text);
        ensure!(said, "{shown}\nexpected the failure {text:?}: {output}");
        Ok(output.stderr)
    }

    /// Runs in the background; its lines (both streams) arrive as they are written.
    ///
    /// # Errors
    /// It could not start.
    pub fn stream(mut self) -> Result<Stream> {
        let shown = self.show();
        self.command.stdin(Stdio::null());
        let mut child = self.spawn_piped()?;
        let (sender, lines) = channel();
        forward(child.stdout.take(), sender.clone());
        forward(child.stderr.take(), sender);
        Ok(Stream { child, lines, seen: Vec::new(), shown })
    }

    fn spawn_piped(&mut self) -> Result<Child> {
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))
    }

    fn show(&self) -> String {
        let arguments: Vec<_> = self.command.get_args().map(|word| word.to_string_lossy()).collect();
        let program = Path::new(self.command.get_program()).file_name().unwrap_or_default();
        format!("$ {} {}", program.to_string_lossy(), arguments.join(" "))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// A program in the background; it ends when this is dropped.
pub struct Stream {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    shown: String,
}

impl Stream {
    /// The next line that satisfies `wanted`.
    ///
    /// # Errors
    /// The program ended or [`PATIENCE`] passed before; all lines so far are shown.
    pub fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}\n{what}: not seen in {:?}", self.shown, self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{}\nended before {what}: {:?}", self.shown, self.seen)
                }
            }
        }
    }

    /// Waits for the program to end by itself; every line it wrote, and its exit code.
    ///
    /// # Errors
    /// It still ran after [`PATIENCE`].
    pub fn end(mut self) -> Result<(Vec<String>, Option<i32>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("{}\nstill runs after {:?}", self.shown, self.seen),
            }
        }
        let code = self.child.wait()?.code();
        Ok((std::mem::take(&mut self.seen), code))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn forward(stream: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// Reads a stream on a thread of its own, so that neither pipe can fill and block the program.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let thread = stream.map(|mut stream| {
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                let mut buffer = [0u8; 8192];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if let Ok(mut all) = bytes.lock() {
                        all.extend_from_slice(&buffer[..length]);
                    }
                }
            })
        });
        Self { bytes, thread }
    }

    fn so_far(&self) -> String {
        self.bytes.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn all(mut self) -> String {
        if let Some(thread) = self.thread.take() {
            // The reader only panics if memory runs out.
            thread.join().ok();
        }
        self.so_far()
    }
}

/// Splits at white space; 'single quotes' hold a word together, as in a shell.
fn words(line: &str) -> Vec<String> {
    let (mut found, mut current, mut quoted, mut open) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                open = true;
            }
            c if c.is_whitespace() && !quoted => {
                if open {
                    found.push(std::mem::take(&mut current));
                    open = false;
                }
            }
            c => {
                current.push(c);
                open = true;
            }
        }
    }
    if open {
        found.push(current);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_a_shell_does() {
        assert_eq!(words(" a  b='c d' '' e"), ["a", "b=c d", "", "e"]);
    }

    #[test]
    fn output_exit_code_and_input_pass_through() {
        let output =
            program("/bin/sh").words("-c 'cat; echo oops >&2; exit 3'").stdin("hello").run().unwrap();
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str(), output.code),
            ("hello", "oops\n", Some(3))
        );
        let error = program("/bin/sh").words("-c 'echo why >&2; exit 1'").ok().unwrap_err().to_string();
        assert!(error.contains("$ sh -c") && error.contains("why"), "{error}");
        program("/bin/sh").words("-c 'echo why >&2; exit 1'").fails("why").unwrap();
        program("/bin/sh").words("-c true").fails("").unwrap_err();
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_what_it_said_is_told() {
        let call =
            program("/bin/sh").words("-c 'echo started; exec sleep 60'").timeout(Duration::from_millis(300));
        let error = call.run().unwrap_err().to_string();
        assert!(error.contains("started") && error.contains("not within"), "{error}");
    }

    #[test]
    fn a_stream_gives_lines_and_its_end() {
        let mut stream =
            program("/bin/sh").words("-c 'echo one; echo two; echo three; exit 4'").stream().unwrap();
        assert_eq!(stream.line("two", |line| line == "two").unwrap(), "two");
        let (lines, code) = stream.end().unwrap();
        assert_eq!((lines.len(), code), (3, Some(4)));
    }
}
