//! The values that a recipe asks for.

use std::collections::BTreeMap;

use stx_layout::config::Faults;
use toml::Spanned;
use toml::de::DeValue;

use super::RecipeFiles;

impl RecipeFiles {
    /// The variables whose value the recipe asks for, with the question of each. Mistakes in the files are ignored.
    ///
    /// ```
    /// use stx_pipeline::RecipeFiles;
    ///
    /// let text = "schema = 1\n[variables]\nUSER = { ask = \"Who commits?\" }\nJOBS = \"4\"\n";
    /// let files = RecipeFiles::gather("r.toml".into(), text.to_owned(), &mut |_| Err("no file".to_owned()));
    /// assert_eq!(files.questions(), [("USER".to_owned(), "Who commits?".to_owned())].into());
    /// ```
    pub fn questions(&self) -> BTreeMap<String, String> {
        let mut questions = BTreeMap::new();
        for number in &self.order {
            let table = self.texts.table(*number, &mut Faults::default());
            let variables = table.as_ref().and_then(|table| table.get("variables"));
            let Some(DeValue::Table(variables)) = variables.map(Spanned::get_ref) else {
                continue;
            };
            for (name, value) in variables {
                let asked = match value.get_ref() {
                    DeValue::Table(table) => {
                        table.get("ask").and_then(|ask| ask.get_ref().as_str())
                    }
                    // A later file may set the value.
                    _ => None,
                };
                match asked {
                    Some(question) => {
                        questions.insert(name.get_ref().to_string(), question.to_owned())
                    }
                    None => questions.remove(name.get_ref().as_ref()),
                };
            }
        }
        questions
    }
}
