//! `xebec-pause`: the process that holds a pod sandbox's namespaces open.
//!
//! Enters: nothing. Leaves: nothing; as PID 1 of a shared PID namespace it reaps orphans, and it ends at once on
//! SIGTERM or SIGINT. Called by the container runtime as the only process of every sandbox, from a static image of
//! its own (`cargo xtask image`), so no registry is needed to start the first pod.

/// Waits for one of the blocked signals; children are reaped on SIGCHLD.
fn main() {
    // SAFETY: an all-zero sigset_t is a valid value to initialise with sigemptyset, the set lives on this stack frame
    // for all the calls, and the other arguments are null or by value.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD] {
            libc::sigaddset(&mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        loop {
            match libc::sigwaitinfo(&set, std::ptr::null_mut()) {
                libc::SIGCHLD => while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {},
                libc::SIGTERM | libc::SIGINT => std::process::exit(0),
                _ => {}
            }
        }
    }
}
