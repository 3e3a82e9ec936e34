//! Users by name, and the owners of inaccessible files.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use nix::unistd::{Group, Uid, User, getgrouplist};

/// A user's name with the number, `root (0)`; `user 4711` if the name is unknown.
pub fn user(uid: u32) -> String {
    // Without an answer, the number has to suffice.
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} ({uid})", user.name),
        Ok(None) | Err(_) => format!("user {uid}"),
    }
}

/// A user's name without the number; `user 4711` if the name is unknown.
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("user {uid}"),
    }
}

/// The name of the user who runs this program, if the system's user database has one.
pub(crate) fn my_name() -> Option<String> {
    let user = User::from_uid(Uid::from_raw(me())).ok()??;
    Some(user.name)
}

/// True if a user is a member of a group, by the system's user database.
///
/// # Errors
/// The reason why that is unknown, in one line.
pub fn is_member(group: &str, uid: u32) -> Result<bool, String> {
    let wanted = match Group::from_name(group) {
        Ok(Some(group)) => group.gid,
        Ok(None) => return Err("there is no such group".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let Some(user) = User::from_uid(Uid::from_raw(uid)).map_err(|error| error.to_string())? else {
        return Err(format!("user {uid} is not known"));
    };
    let name = std::ffi::CString::new(user.name).map_err(|error| error.to_string())?;
    let groups = getgrouplist(&name, user.gid).map_err(|error| error.to_string())?;
    Ok(groups.contains(&wanted))
}

/// The user who runs this program.
fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The hint about denied access to `path`: its owner, or the owner of the nearest accessible directory above.
pub fn denied(path: &Utf8Path) -> String {
    let seen = path.ancestors().find_map(|path| {
        let path = if path == "" { Utf8Path::new(".") } else { path };
        Some((path, fs_err::symlink_metadata(path).ok()?.uid()))
    });
    match seen {
        Some((path, owner)) if owner != me() => {
            let path = match path.as_str() {
                "." => "the current directory",
                path => path,
            };
            format!(
                "{path} belongs to {}, and you are {}: run the command as a user who may do this",
                user(owner),
                user(me())
            )
        }
        Some(_) | None => denied_here(),
    }
}

/// The hint if it is unknown which path was denied.
pub fn denied_here() -> String {
    format!(
        "you are {}: run the command as a user who may do this",
        user(me())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_user_has_a_name() {
        assert_eq!(user(0), "root (0)");
        assert_eq!(user(3_999_999_999), "user 3999999999");
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "user 3999999999");
    }

    #[test]
    fn groups_have_members() {
        // On every Linux system, the superuser is in the group `root`, and the user `nobody` is not.
        assert_eq!(is_member("root", 0), Ok(true));
        assert_eq!(is_member("root", 65_534), Ok(false));
        assert!(is_member("no-such-group", 0).is_err());
    }
}
