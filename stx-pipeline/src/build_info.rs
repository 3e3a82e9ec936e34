//! `BUILD_INFO`: the identity of a build, for shell scripts.

use std::fmt;

use stx_layout::is_printable;

use crate::BuildPlan;

/// The contents of `BUILD_INFO`; `Display` writes a line `KEY="value"` for each, which a shell can read.
///
/// The file of StarlingX's own builds also has `BUILD_HOST` and `BUILD_BY`. They are left out, because a mirror must not reveal
/// a build server's name, address and user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    keys: Vec<(&'static str, String)>,
}

impl BuildInfo {
    /// Its name in the workspace, where it exists before the first phase.
    pub const FILE: &'static str = "BUILD_INFO";

    /// The keys of a build. `SW_VERSION` and `BUILD_TYPE` come from the recipe's variables, if set; `BUILD_NUMBER` is not known
    /// here.
    pub fn new(plan: &BuildPlan) -> Self {
        let variable = |name: &str| plan.env.get(name).map(ToString::to_string);
        let date = plan.id.date;
        let keys = [
            ("OS", Some(plan.id.channel.distro.to_string())),
            ("SW_VERSION", variable("SW_VERSION")),
            (
                "BUILD_TARGET",
                Some(variable("BUILD_TARGET").unwrap_or_else(|| "Host Installer".to_owned())),
            ),
            (
                "BUILD_TYPE",
                Some(variable("BUILD_TYPE").unwrap_or_else(|| "Formal".to_owned())),
            ),
            ("BUILD_ID", Some(date.to_string())),
            ("JOB", Some(plan.id.channel.to_string())),
            ("BRANCH", Some(plan.branch.clone())),
            (
                "BUILD_DATE",
                Some(date.time().format("%Y-%m-%d %H:%M:%S +0000").to_string()),
            ),
        ];
        let keys = keys
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Self { keys }
    }
}

impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.keys {
            let mut quoted = String::with_capacity(value.len());
            for character in value.chars().filter(|character| is_printable(*character)) {
                if matches!(character, '"' | '\\' | '$' | '`') {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
            writeln!(f, "{key}=\"{quoted}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stx_layout::ReleaseId;

    use super::*;
    use crate::{BuildRequest, Recipe, plan};

    #[test]
    fn build_info_is_shell_and_does_not_describe_the_build_server() {
        let recipe = Recipe::from_toml(
            "schema = 1\nname = \"t\"\ndistro = \"centos\"\nvariables = { SW_VERSION = '18.10 \"`$x', BUILD_TYPE = \"For\\u202Emal\" }\n\
             source = { phase = \"sync\" }\n[[phase]]\nname = \"sync\"\nrun = [\"sync\"]\n",
        )
        .unwrap();
        let request = BuildRequest {
            base_env: [("USER".to_owned(), "builder".to_owned())].into(),
            ..BuildRequest::new(
                recipe.channel(ReleaseId::Master),
                "master",
                "20181105T060000Z".parse().unwrap(),
                "/r",
            )
        };
        let plan = plan(&recipe, &request).unwrap();
        insta::assert_snapshot!(BuildInfo::new(&plan), @r#"
        OS="centos"
        SW_VERSION="18.10 \"\`\$x"
        BUILD_TARGET="Host Installer"
        BUILD_TYPE="Formal"
        BUILD_ID="20181105T060000Z"
        JOB="master/centos"
        BRANCH="master"
        BUILD_DATE="2018-11-05 06:00:00 +0000"
        "#);
    }
}
