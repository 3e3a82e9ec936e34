//! Finds circles in the needs of phases.

use std::collections::HashMap;

use super::Reader;

/// A phase, the position of its need in the file, and the need.
pub(super) type Edge = (String, usize, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    OnPath,
    Done,
}

impl Reader {
    /// Reports each circle of needs once, at the entry that closes it.
    pub(super) fn circles(&mut self, edges: &[Edge]) {
        let mut needs: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
        for (phase, at, need) in edges {
            needs.entry(phase).or_default().push((*at, need));
        }
        let mut seen: HashMap<&str, Seen> = HashMap::new();
        for (start, _, _) in edges {
            if seen.contains_key(start.as_str()) {
                continue;
            }
            // The path from the start; each phase with the number of its needs that were followed.
            let mut path: Vec<(&str, usize)> = vec![(start, 0)];
            seen.insert(start, Seen::OnPath);
            while let Some((phase, next)) = path.last_mut() {
                let Some((at, need)) = needs.get(phase).and_then(|needs| needs.get(*next)) else {
                    seen.insert(phase, Seen::Done);
                    path.pop();
                    continue;
                };
                *next += 1;
                match seen.get(need) {
                    Some(Seen::Done) => {}
                    Some(Seen::OnPath) => {
                        let from = path.iter().position(|(phase, _)| phase == need);
                        let circle: Vec<_> = path[from.unwrap_or(0)..]
                            .iter()
                            .map(|(phase, _)| *phase)
                            .collect();
                        self.fault(
                            *at,
                            format!(
                                "phases need each other in a circle: {} -> {need}",
                                circle.join(" -> ")
                            ),
                        );
                    }
                    None => {
                        seen.insert(need, Seen::OnPath);
                        path.push((need, 0));
                    }
                }
            }
        }
    }
}
