//! Drawings of recipes.

use std::fmt::Write as _;

use serde::Serialize;

use super::Recipe;

/// A phase and its needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node<'r> {
    /// Its name.
    pub phase: &'r str,
    /// The phases that must end before it; the source phase if it has no other need.
    pub needs: Vec<&'r str>,
    /// True if it syncs the sources.
    pub source: bool,
    /// True if its failure fails the build.
    pub required: bool,
}

/// The phases in the order of the recipe, with their needs. A need that another need implies is not listed.
pub fn edges(recipe: &Recipe) -> Vec<Node<'_>> {
    let nodes = recipe.phases.iter().map(|phase| {
        let source = phase.name == recipe.source_phase;
        let mut needs: Vec<_> = phase.needs.iter().map(String::as_str).collect();
        if needs.is_empty() && !source {
            needs.push(&recipe.source_phase);
        }
        Node {
            phase: &phase.name,
            needs,
            source,
            required: phase.required,
        }
    });
    nodes.collect()
}

/// The text of a Mermaid flow chart; optional phases have a dashed frame.
pub fn mermaid(recipe: &Recipe) -> String {
    let mut text = "flowchart TD\n".to_owned();
    // Names such as `end` are keywords of Mermaid.
    let id = |name: &str| format!("p-{name}");
    for Node {
        phase,
        needs,
        source,
        required,
    } in edges(recipe)
    {
        let (open, close) = if source { ("([", "])") } else { ("[", "]") };
        let class = if required { "" } else { ":::optional" };
        writeln!(text, "  {}{open}\"{phase}\"{close}{class}", id(phase)).expect("text");
        for need in needs {
            writeln!(text, "  {} --> {}", id(need), id(phase)).expect("text");
        }
    }
    text.push_str("  classDef optional stroke-dasharray: 4\n");
    text
}

/// The text of a Graphviz graph; optional phases have a dashed frame.
pub fn dot(recipe: &Recipe) -> String {
    let mut text = format!("digraph {:?} {{\n  node [shape=box]\n", recipe.name);
    for Node {
        phase,
        needs,
        source,
        required,
    } in edges(recipe)
    {
        let style = match (source, required) {
            (true, _) => " [shape=ellipse]",
            (false, true) => "",
            (false, false) => " [style=dashed]",
        };
        writeln!(text, "  {phase:?}{style}").expect("text");
        for need in needs {
            writeln!(text, "  {need:?} -> {phase:?}").expect("text");
        }
    }
    text.push_str("}\n");
    text
}
