//! Runs a program under `ptrace`, numbers the changes that it, all its threads and its children make to files, and makes one of them
//! fail or be the last.
//!
//! `strace --inject=…:when=N` counts per thread, so that it cannot reach every call of a program with threads. Here a change is
//! identified by its effect (its name, its paths, and its number among equal ones): it is the same change in the next run, regardless
//! of the thread and the order.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::decode::{Change, change, needs_room};

/// A change by one run, identical in every run of the same command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Point {
    /// Made by a program that the command started.
    pub(super) in_child: bool,
    /// The name of the system call.
    pub(super) name: &'static str,
    /// Its paths, below the watched directory.
    pub(super) paths: Vec<String>,
    /// The number of equal changes before it.
    pub(super) nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.in_child { "child: " } else { "" };
        write!(
            f,
            "{whose}{}({}) #{}",
            self.name,
            self.paths.join(", "),
            self.nth
        )
    }
}

/// The processes to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The command and its children.
    All,
    /// The command; its children become orphans.
    Command,
    /// The children.
    Children,
}

/// The event that replaces a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL; the change is not made.
    Kill(Victim),
    /// This error; the change is not made.
    Once(Errno),
    /// This error, also for every later change; if the error is a full disk, only for changes that need room.
    FromThenOn(Errno),
}

/// A run under the tracer.
#[derive(Debug)]
pub(super) struct Traced {
    /// The exit status; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    /// Standard error.
    pub(super) stderr: String,
    /// The changes that were made.
    pub(super) made: Vec<Point>,
    /// The changes that were replaced by an error.
    pub(super) refused: Vec<Point>,
    /// True if the point was reached.
    pub(super) reached: bool,
}

/// The current call of a thread.
enum Pending {
    Nothing,
    /// A call that changes nothing.
    Other,
    Made(Point),
    Failed(Errno),
}

struct Tracer<'a> {
    main: Pid,
    watched: &'a Path,
    fault: Option<(&'a Point, Fault)>,
    /// Set when the command itself runs; changes before that do not count.
    started: bool,
    pending: HashMap<Pid, Pending>,
    process: HashMap<Pid, Pid>,
    counts: HashMap<Point, usize>,
    traced: Traced,
}

/// Runs `command` and all processes that it starts to their end.
#[expect(
    clippy::zombie_processes,
    reason = "the tracer waits for all that it traces"
)]
pub(super) fn trace(command: &Command, watched: &Path, fault: Option<(&Point, Fault)>) -> Traced {
    // The shell waits until it is traced, and executes the command. Files that it makes must be readable regardless of the umask.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 077 && kill -STOP $$ && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    let mut child = shell.spawn().expect("a shell");
    let main = Pid::from_raw(child.id().try_into().expect("a process id"));
    let stopped = waitpid(main, Some(WaitPidFlag::WUNTRACED));
    assert_eq!(stopped, Ok(WaitStatus::Stopped(main, Signal::SIGSTOP)));
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(main, options)
        .expect("tracing is allowed: CAP_SYS_PTRACE, or one's own children");
    kill(main, Signal::SIGCONT).expect("a stopped shell");
    let mut tracer = Tracer {
        main,
        watched,
        fault,
        started: false,
        pending: HashMap::new(),
        process: HashMap::new(),
        counts: HashMap::new(),
        traced: Traced {
            code: None,
            stderr: String::new(),
            made: Vec::new(),
            refused: Vec::new(),
            reached: false,
        },
    };
    tracer.run();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr
        .read_to_string(&mut tracer.traced.stderr)
        .expect("UTF-8");
    tracer.traced
}

impl Tracer<'_> {
    fn run(&mut self) {
        // Other tests have children of their own, in other threads.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Err(Errno::ECHILD) => return,
                Err(error) => panic!("waiting: {error}"),
                Ok(WaitStatus::Exited(thread, code)) => {
                    if thread == self.main {
                        self.traced.code = Some(code);
                    }
                    self.forget(thread);
                }
                Ok(WaitStatus::Signaled(thread, ..)) => self.forget(thread),
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    self.system_call(thread);
                    resume(thread, None);
                }
                Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                    self.started |= event == nix::libc::PTRACE_EVENT_EXEC;
                    self.process_of(thread);
                    resume(thread, None);
                }
                Ok(WaitStatus::Stopped(thread, signal)) => resume(thread, Some(signal)),
                Ok(WaitStatus::Continued(_) | WaitStatus::StillAlive) => {}
            }
        }
    }

    /// Forgets a thread that has ended; its number may be reused.
    fn forget(&mut self, thread: Pid) {
        self.process.remove(&thread);
        self.pending.remove(&thread);
    }

    /// The process of a thread.
    fn process_of(&mut self, thread: Pid) -> Pid {
        *self.process.entry(thread).or_insert_with(|| {
            let status =
                fs_err::read_to_string(format!("/proc/{thread}/status")).expect("a stopped thread");
            let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
            Pid::from_raw(
                line.and_then(|id| id.trim().parse().ok())
                    .expect("a process id"),
            )
        })
    }

    /// Handles a stop before or after a system call, alternately.
    fn system_call(&mut self, thread: Pid) {
        // The thread may have been killed meanwhile.
        let Ok(mut regs) = ptrace::getregs(thread) else {
            return;
        };
        let pending = self.pending.remove(&thread).unwrap_or(Pending::Nothing);
        let next = match pending {
            Pending::Nothing => self.enter(thread, &mut regs),
            Pending::Other => Pending::Nothing,
            Pending::Made(point) => {
                if regs.rax.cast_signed() >= 0 {
                    let mut same = point.clone();
                    same.nth = 0;
                    *self.counts.entry(same).or_default() += 1;
                    self.traced.made.push(point);
                }
                Pending::Nothing
            }
            Pending::Failed(error) => {
                regs.rax = (-(error as i64)).cast_unsigned();
                let set = ptrace::setregs(thread, regs);
                assert!(matches!(set, Ok(()) | Err(Errno::ESRCH)), "{set:?}");
                Pending::Nothing
            }
        };
        self.pending.insert(thread, next);
    }

    fn enter(&mut self, thread: Pid, regs: &mut nix::libc::user_regs_struct) -> Pending {
        if !self.started {
            return Pending::Other;
        }
        let Some(change) = change(thread, regs) else {
            return Pending::Other;
        };
        let point = self.point(thread, &change);
        let Some((at, fault)) = self.fault else {
            return Pending::Made(point);
        };
        let here = *at == point && !self.traced.reached;
        self.traced.reached |= here;
        let error = match fault {
            Fault::Kill(victim) if here => {
                self.kill(victim);
                if victim == Victim::Command && point.in_child {
                    return Pending::Made(point);
                }
                // The call is not made, although the thread may live until the signal reaches it.
                Errno::EINTR
            }
            Fault::Once(error) if here => error,
            Fault::FromThenOn(Errno::ENOSPC) if !needs_room(point.name) => {
                return Pending::Made(point);
            }
            Fault::FromThenOn(error) if self.traced.reached => error,
            Fault::Kill(_) | Fault::Once(_) | Fault::FromThenOn(_) => {
                return Pending::Made(point);
            }
        };
        prevent(thread, regs);
        self.traced.refused.push(point);
        Pending::Failed(error)
    }

    fn point(&mut self, thread: Pid, change: &Change) -> Point {
        let below = |path: &Path| {
            let below = path.strip_prefix(self.watched).unwrap_or(path);
            // A temporary directory has another name in each run.
            match below.to_string_lossy().split_once("/.tmp") {
                Some((dir, rest)) => format!("{dir}/.tmp{}", rest.get(6..).unwrap_or_default()),
                None => below.to_string_lossy().into_owned(),
            }
        };
        let paths = change.paths.iter().map(|path| below(path)).collect();
        let mut point = Point {
            in_child: self.process_of(thread) != self.main,
            name: change.name,
            paths,
            nth: 0,
        };
        point.nth = self.counts.get(&point).copied().unwrap_or_default();
        point
    }

    fn kill(&self, victim: Victim) {
        let mut processes: Vec<_> = self.process.values().copied().collect();
        processes.sort_unstable();
        processes.dedup();
        processes.retain(|process| match victim {
            Victim::All => true,
            Victim::Command => *process == self.main,
            Victim::Children => *process != self.main,
        });
        for process in processes {
            let sent = kill(process, Signal::SIGKILL);
            assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
        }
    }
}

/// Replaces a call that is about to be made by an invalid one.
fn prevent(thread: Pid, regs: &mut nix::libc::user_regs_struct) {
    regs.orig_rax = u64::MAX;
    let set = ptrace::setregs(thread, *regs);
    assert!(matches!(set, Ok(()) | Err(Errno::ESRCH)), "{set:?}");
}

/// Continues a thread to its next stop; ignores a killed thread.
fn resume(thread: Pid, signal: Option<Signal>) {
    let resumed = ptrace::syscall(thread, signal);
    assert!(matches!(resumed, Ok(()) | Err(Errno::ESRCH)), "{resumed:?}");
}
