//! Parses the lines of `strace`: a call and its arguments, with texts as hexadecimal bytes.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::trace::Call;

/// The state that the interpretation of a line needs.
pub(super) struct Reader {
    root: Utf8PathBuf,
    /// The offset of the next `write` to an open file.
    offsets: HashMap<String, usize>,
}

impl Reader {
    pub(super) fn new(root: &Utf8Path) -> Self {
        Self {
            root: root.to_owned(),
            offsets: HashMap::new(),
        }
    }

    /// The effect of one call; `None` for a call that cannot be followed.
    pub(super) fn read(&mut self, line: &str) -> Option<Vec<Call>> {
        let (name, rest) = line.split_once('(')?;
        if name == "exit_group" {
            return Some(vec![Call::Exit]);
        }
        let (args, result) = rest.rsplit_once(" = ")?;
        let args = args.trim_end().strip_suffix(')')?;
        if result.starts_with('-') || result.starts_with('?') {
            return Some(Vec::new());
        }
        let args: Vec<_> = args.split(", ").collect();
        let value = number(result.split(['<', ' ']).next()?)?;
        let file = |index: usize| self.open_file(args.get(index)?);
        let path = |index: usize| self.named(None, args.get(index)?);
        let path_at = |index: usize| self.named(Some(args.get(index)?), args.get(index + 1)?);
        let one = |call: Option<Call>| Some(call.into_iter().collect());
        match name {
            "open" => {
                let path = path(0);
                self.opened(path, args.get(1)?, args.get(2), result)
            }
            "openat" => {
                let path = path_at(0);
                self.opened(path, args.get(2)?, args.get(3), result)
            }
            "openat2" => {
                let path = path_at(0);
                path.is_none_or(|_| !line.contains("O_CREAT") && !line.contains("O_TRUNC"))
                    .then(Vec::new)
            }
            "write" => {
                let Some(path) = file(0) else {
                    return Some(Vec::new());
                };
                let bytes = text(args.get(1)?)?;
                let next = self.offsets.get_mut(args[0])?;
                let at = *next;
                *next += value;
                Some(vec![write(path, at, &bytes, value)])
            }
            "pwrite64" => {
                let Some(path) = file(0) else {
                    return Some(Vec::new());
                };
                let bytes = text(args.get(1)?)?;
                Some(vec![write(path, number(args.get(3)?)?, &bytes, value)])
            }
            "lseek" => {
                if file(0).is_some() {
                    self.offsets.insert(args[0].to_owned(), value);
                }
                Some(Vec::new())
            }
            "copy_file_range" => {
                let Some(path) = file(2) else {
                    return Some(Vec::new());
                };
                self.copied(args[0], args.get(1)?, args[2], args.get(3)?, path, value)
            }
            "sendfile" => {
                let Some(path) = file(0) else {
                    return Some(Vec::new());
                };
                self.copied(args.get(1)?, args.get(2)?, args[0], "NULL", path, value)
            }
            "ftruncate" => {
                let size = number(args.get(1)?)?;
                one(file(0).map(|path| Call::Cut { path, size }))
            }
            "fsync" | "fdatasync" => one(file(0).map(|path| Call::Sync { path })),
            "syncfs" => one(file(0).map(|_| Call::SyncAll)),
            "sync" => Some(vec![Call::SyncAll]),
            // It makes nothing durable, despite its name.
            "sync_file_range" => Some(Vec::new()),
            "mmap" => {
                let shared = line.contains("MAP_SHARED") && line.contains("PROT_WRITE");
                (!shared || file(4).is_none()).then(Vec::new)
            }
            "ioctl" => (file(0).is_none() || !line.contains("FICLONE")).then(Vec::new),
            "io_uring_setup" => None,
            _ => self.read_entry(name, &args),
        }
    }

    /// The effect of a call that changes directory entries or modes.
    fn read_entry(&self, name: &str, args: &[&str]) -> Option<Vec<Call>> {
        let path = |index: usize| self.named(None, args.get(index)?);
        let path_at = |index: usize| self.named(Some(args.get(index)?), args.get(index + 1)?);
        let one = |call: Option<Call>| Some(call.into_iter().collect());
        match name {
            "mkdir" => {
                let mode = octal(args.get(1)?)?;
                one(path(0).map(|path| Call::MakeDir { path, mode }))
            }
            "mkdirat" => {
                let mode = octal(args.get(2)?)?;
                one(path_at(0).map(|path| Call::MakeDir { path, mode }))
            }
            "rmdir" | "unlink" => one(path(0).map(|path| Call::Remove { path })),
            "unlinkat" => one(path_at(0).map(|path| Call::Remove { path })),
            "symlink" => {
                let target = string(args.first()?)?;
                one(path(1).map(|path| Call::Symlink { target, path }))
            }
            "symlinkat" => {
                let target = string(args.first()?)?;
                one(path_at(1).map(|path| Call::Symlink { target, path }))
            }
            "rename" => both(path(0), path(1), |from, to| Call::Rename { from, to }),
            "renameat" => both(path_at(0), path_at(2), |from, to| Call::Rename { from, to }),
            "renameat2" if args.last()?.contains("RENAME_EXCHANGE") => None,
            "renameat2" => both(path_at(0), path_at(2), |from, to| Call::Rename { from, to }),
            "link" => both(path(0), path(1), |from, to| Call::Link { from, to }),
            "linkat" => both(path_at(0), path_at(2), |from, to| Call::Link { from, to }),
            "chmod" => {
                let mode = octal(args.get(1)?)?;
                one(path(0).map(|path| Call::Mode { path, mode }))
            }
            "fchmod" => {
                let mode = octal(args.get(1)?)?;
                one(self
                    .open_file(args.first()?)
                    .map(|path| Call::Mode { path, mode }))
            }
            "fchmodat" | "fchmodat2" => {
                let mode = octal(args.get(2)?)?;
                one(path_at(0).map(|path| Call::Mode { path, mode }))
            }
            _ => (!args.concat().contains(&hex(self.root.as_str()))).then(Vec::new),
        }
    }

    /// The effect of an `open`: the file that it created or emptied.
    fn opened(
        &mut self,
        path: Option<String>,
        flags: &str,
        mode: Option<&&str>,
        result: &str,
    ) -> Option<Vec<Call>> {
        self.offsets.insert(result.trim().to_owned(), 0);
        let mut calls = Vec::new();
        let Some(path) = path else { return Some(calls) };
        let has = |flag: &str| flags.split('|').any(|set| set == flag);
        if ["O_APPEND", "O_SYNC", "O_DSYNC", "O_TMPFILE"]
            .into_iter()
            .any(has)
        {
            return None;
        }
        if has("O_CREAT") {
            let mode = octal(mode?)?;
            let path = path.clone();
            calls.push(Call::Create { path, mode });
        }
        if has("O_TRUNC") {
            calls.push(Call::Cut { path, size: 0 });
        }
        Some(calls)
    }

    /// Bytes that the kernel copied from another file, which did not change.
    fn copied(
        &mut self,
        source: &str,
        source_offset: &str,
        target: &str,
        target_offset: &str,
        path: String,
        count: usize,
    ) -> Option<Vec<Call>> {
        if source_offset != "NULL" || target_offset != "NULL" {
            return None;
        }
        let whole = fs_err::read(descriptor(source)?).ok()?;
        let from = self.offsets.entry(source.to_owned()).or_default();
        let bytes = whole.get(*from..*from + count)?.to_vec();
        *from += count;
        let next = self.offsets.entry(target.to_owned()).or_default();
        let at = *next;
        *next += count;
        Some(vec![Call::Write { path, at, bytes }])
    }

    /// The path of an open file, if it is below the root.
    fn open_file(&self, arg: &str) -> Option<String> {
        self.below(&descriptor(arg)?)
    }

    /// A path argument, if it is below the root.
    fn named(&self, dir: Option<&str>, arg: &str) -> Option<String> {
        let path = Utf8PathBuf::from(string(arg)?);
        if path.is_absolute() {
            return self.below(&path);
        }
        self.below(&descriptor(dir?)?.join(path))
    }

    fn below(&self, path: &Utf8Path) -> Option<String> {
        Some(path.strip_prefix(&self.root).ok()?.as_str().to_owned())
    }
}

fn both(
    from: Option<String>,
    to: Option<String>,
    call: impl FnOnce(String, String) -> Call,
) -> Option<Vec<Call>> {
    match (from, to) {
        (Some(from), Some(to)) => Some(vec![call(from, to)]),
        (None, None) => Some(Vec::new()),
        // Into or out of the directory: the program never does that.
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn write(path: String, at: usize, bytes: &[u8], count: usize) -> Call {
    let bytes = bytes[..count].to_vec();
    Call::Write { path, at, bytes }
}

/// The path in `7<…>`.
fn descriptor(arg: &str) -> Option<Utf8PathBuf> {
    let (_, path) = arg.split_once('<')?;
    let path = path.split_once('>')?.0;
    Some(Utf8PathBuf::from(String::from_utf8(unhex(path)?).ok()?))
}

/// The text in quotes.
fn string(arg: &str) -> Option<String> {
    String::from_utf8(text(arg)?).ok()
}

fn text(arg: &str) -> Option<Vec<u8>> {
    unhex(arg.strip_prefix('"')?.strip_suffix('"')?)
}

/// Bytes that are all written as `\x2f`; `None` for a text that was cut.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split("\\x");
    if parts.next() != Some("") {
        return None;
    }
    parts
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect()
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "\\x{byte:02x}").expect("a string takes it");
        all
    })
}

fn number(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok()
}
