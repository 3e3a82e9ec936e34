//! The sentences of comments and documents, by the rules of docs/STYLE.md.

use crate::harness::root;

/// Consecutive lines of prose.
struct Paragraph {
    line: usize,
    text: String,
    /// True for the first one of a doc comment.
    begins_doc_comment: bool,
}

impl Paragraph {
    /// The sentences whose subject is a clause. A question may begin like that.
    fn unclear(&self) -> Vec<String> {
        const CLAUSES: [&str; 5] = ["What ", "Whether ", "Who ", "Whoever ", "Whatever "];
        let pieces = self.text.split_inclusive(['.', '?']);
        let sentences = pieces.filter(|it| it.starts_with(' ') || self.text.starts_with(it));
        let mut unclear: Vec<_> = sentences
            .map(|sentence| sentence.trim().to_owned())
            .filter(|it| CLAUSES.iter().any(|clause| it.starts_with(clause)))
            .filter(|sentence| !sentence.ends_with('?'))
            .collect();
        let first = self.text.split(' ').next().unwrap_or_default();
        if self.begins_doc_comment && ["How", "Why", "Where"].contains(&first) {
            unclear.push(self.text.clone());
        }
        unclear
    }
}

/// The paragraphs of lines; `prose` gives the text of a line, and the mark in front of it. Another mark, an empty text and the start
/// of a list item end a paragraph.
fn paragraphs<'s>(
    source: &'s str,
    mut prose: impl FnMut(&'s str) -> (&'s str, &'s str),
) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let (mut before, mut is_open) = ("", false);
    for (line, whole) in (1..).zip(source.lines()) {
        let (mark, text) = prose(whole.trim());
        let is_item = ["- ", "* ", "|"].iter().any(|it| text.starts_with(it));
        is_open &= mark == before && !text.is_empty() && !is_item;
        match paragraphs.last_mut() {
            Some(paragraph) if is_open => {
                paragraph.text.push(' ');
                paragraph.text.push_str(text);
            }
            _ if text.is_empty() => {}
            _ => {
                paragraphs.push(Paragraph {
                    line,
                    text: if is_item { text[1..].trim() } else { text }.to_owned(),
                    begins_doc_comment: mark.len() == 3 && mark != before,
                });
                is_open = true;
            }
        }
        before = mark;
    }
    paragraphs
}

/// The comments of a Rust source.
fn comments(source: &str) -> Vec<Paragraph> {
    paragraphs(source, |line| {
        let mut marks = ["///", "//!", "//"].into_iter();
        let mark = marks.find(|mark| line.starts_with(mark));
        mark.map_or(("", ""), |mark| (mark, line[mark.len()..].trim()))
    })
}

/// The prose of a Markdown document, without its code and its headings.
fn prose(document: &str) -> Vec<Paragraph> {
    let mut is_code = false;
    paragraphs(document, |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let is_prose = !is_code && !is_fence && !line.starts_with('#');
        ("", if is_prose { line } else { "" })
    })
}

#[test]
fn a_sentence_without_a_subject_is_found() {
    let source = "/// Whether it is there.\n///\n/// Why not?\nfn f() {\n    // It is. What\n    // is not is not. What is it?\n}\n\
        /// The way.\n/// How it ends.\n\n/// Where it is.\n";
    let lines = |found: &[Paragraph]| -> Vec<_> {
        let unclear = |it: &Paragraph| {
            it.unclear()
                .into_iter()
                .map(move |text| (it.line, text))
                .collect::<Vec<_>>()
        };
        found.iter().flat_map(unclear).collect()
    };
    let expected = [
        (1, "Whether it is there."),
        (5, "What is not is not."),
        (11, "Where it is."),
    ];
    assert_eq!(
        lines(&comments(source)),
        expected.map(|(line, text)| (line, text.to_owned()))
    );
    let document =
        "# What is left\nIt is\nso. Whatever\nit is.\n- Who knows.\n```sh\nWhat is this.\n```\n";
    let expected = [(2, "Whatever it is."), (5, "Who knows.")];
    assert_eq!(
        lines(&prose(document)),
        expected.map(|(line, text)| (line, text.to_owned()))
    );
}

#[test]
fn sentences_of_comments_and_documents_have_a_subject() {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root()).sort_by_file_name() {
        let entry = entry.expect("a readable tree");
        let path = entry.path().strip_prefix(root()).expect("below");
        let path = path.to_str().expect("UTF-8");
        let is_ours = path.starts_with("stx-") || path.starts_with("tests/");
        let read = || fs_err::read_to_string(entry.path()).expect("a text");
        let paragraphs = match entry.path().extension().and_then(|it| it.to_str()) {
            Some("rs") if is_ours => comments(&read()),
            Some("md") if is_ours || path.starts_with("docs/") || path == "README.md" => {
                prose(&read())
            }
            _ => continue,
        };
        for paragraph in paragraphs {
            let line = paragraph.line;
            let unclear = paragraph.unclear().into_iter();
            found.extend(unclear.map(|text| format!("{path}:{line}: {text}")));
        }
    }
    assert!(
        found.is_empty(),
        "give these sentences a subject, as docs/STYLE.md says:\n{}",
        found.join("\n")
    );
}
