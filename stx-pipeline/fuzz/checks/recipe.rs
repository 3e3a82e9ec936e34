//! Reads any text as a recipe. There is no panic, and each mistake has a position in the text. For an accepted recipe, a plan
//! is made or refused with a reason, the plan equals itself after it is written and read again, and every drawing names every
//! phase.

use stx_layout::ReleaseId;
use stx_pipeline::recipe::{dot, edges, mermaid};
use stx_pipeline::{BuildPlan, BuildRequest, Recipe, plan};

/// Reads `bytes`, if they are text, as a recipe.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let recipe = match Recipe::from_toml(text) {
        Ok(recipe) => recipe,
        Err(error) => {
            assert!(!error.is_empty());
            for mistake in error {
                let at = mistake.at.expect("a place");
                // A missing end is reported after the last character.
                let line = text.split('\n').nth(at.line - 1).expect("its line");
                assert!((1..=line.chars().count() + 1).contains(&at.column));
            }
            return;
        }
    };
    assert_eq!(edges(&recipe).len(), recipe.phases.len());
    let (dot, mermaid) = (dot(&recipe), mermaid(&recipe));
    for phase in &recipe.phases {
        assert!(dot.contains(&phase.name) && mermaid.contains(&phase.name));
    }
    let request = BuildRequest {
        base_env: ["PATH", "HOME", "USER"]
            .map(|name| (name.to_owned(), format!("/{name}")))
            .into(),
        ..BuildRequest::new(
            recipe.channel(ReleaseId::Master),
            "master",
            "20200101T000000Z".parse().expect("a date"),
            "/recipe",
        )
    };
    match plan(&recipe, &request) {
        Ok(plan) => {
            assert_eq!(plan.phases.len(), recipe.phases.len());
            assert!(!plan.to_string().is_empty());
            let json = serde_json::to_string(&plan).expect("JSON");
            let again: BuildPlan = serde_json::from_str(&json).expect("a plan that was written");
            assert_eq!(again, plan);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
