//! The names of the classes, and finding a class by name.

use std::path::Path;

use super::metadata::labels_file;
use crate::error::{Error, Result};

/// How many names a suggestion holds.
const SUGGESTIONS: usize = 3;

/// The names of the classes.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    /// `class 17` for a class whose name is not known.
    names: Vec<String>,
    wordnet_ids: Option<Vec<String>>,
}

impl Labels {
    /// Takes the names from `file`, or else from the model's metadata.
    pub(super) fn new(
        names: Option<Vec<String>>,
        wordnet_ids: Option<Vec<String>>,
        file: Option<&Path>,
        classes: usize,
    ) -> Result<Self> {
        let names = match file {
            None => {
                check_count("labels", &names, classes)?;
                names
            }
            Some(path) => {
                let refuse = |why: String| {
                    Error::usage(format!("the labels file {}: {why}", path.display()))
                };
                let lines = labels_file(path).map_err(refuse)?;
                if lines.len() != classes {
                    let count = lines.len();
                    return Err(refuse(format!(
                        "it has {count} lines, but the network has {classes} classes"
                    )));
                }
                Some(lines)
            }
        };
        check_count("wordnet_ids", &wordnet_ids, classes)?;
        let mut names = names.unwrap_or_else(|| vec![String::new(); classes]);
        for (class, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
            *name = format!("class {class}");
        }
        Ok(Self { names, wordnet_ids })
    }

    /// The name of a class.
    ///
    /// # Panics
    /// Where there is no such class.
    pub fn name(&self, class: usize) -> &str {
        &self.names[class]
    }

    /// The WordNet id of a class, such as `n02123045`, where the model tells it.
    pub fn wordnet_id(&self, class: usize) -> Option<&str> {
        self.wordnet_ids.as_ref()?.get(class).map(String::as_str).filter(|id| !id.is_empty())
    }

    /// The class with this name (whatever its case), WordNet id or index.
    ///
    /// # Errors
    /// `Usage` where there is none, with names that are like it, or where several classes share the
    /// name.
    pub fn find(&self, wanted: &str) -> Result<usize> {
        let wanted = wanted.trim();
        let lower = wanted.to_lowercase();
        let named: Vec<usize> =
            (0..self.names.len()).filter(|&c| self.name(c).to_lowercase() == lower).collect();
        match named[..] {
            [class] => return Ok(class),
            [] => {}
            _ => {
                let indices: Vec<_> = named.iter().take(8).map(usize::to_string).collect();
                return Err(Error::usage(format!(
                    "several classes are called `{wanted}`; say which by its index: {}",
                    indices.join(", ")
                )));
            }
        }
        let by_id = (0..self.names.len())
            .find(|&c| self.wordnet_id(c).is_some_and(|id| id.eq_ignore_ascii_case(wanted)));
        let by_index = || wanted.parse().ok().filter(|&class: &usize| class < self.names.len());
        by_id.or_else(by_index).ok_or_else(|| Error::usage(self.suggest(wanted, &lower)))
    }

    /// The line for a name that no class has.
    fn suggest(&self, wanted: &str, lower: &str) -> String {
        // A name that holds the wanted one comes before one that is spelled alike.
        let mut near: Vec<(bool, usize, usize)> = (0..self.names.len())
            .filter_map(|class| {
                let name = self.name(class).to_lowercase();
                let apart = !(lower.len() >= 3 && name.contains(lower));
                let distance = strsim::damerau_levenshtein(&name, lower);
                (!apart || distance <= 1 + lower.chars().count() / 4)
                    .then_some((apart, distance, class))
            })
            .collect();
        near.sort_unstable();
        let names: Vec<_> = near
            .iter()
            .take(SUGGESTIONS)
            .map(|&(_, _, class)| format!("`{}`", self.name(class)))
            .collect();
        let last = self.names.len().saturating_sub(1);
        if names.is_empty() {
            format!(
                "no class is called `{wanted}`; give a label, a WordNet id or an index from 0 to {last}"
            )
        } else {
            format!("no class is called `{wanted}`; did you mean {}?", names.join(" or "))
        }
    }
}

fn check_count(key: &str, list: &Option<Vec<String>>, classes: usize) -> Result<()> {
    match list.as_ref().map(Vec::len).filter(|&count| count != classes) {
        Some(count) => Err(Error::invalid(format!(
            "its metadata has {count} {key}, but the network has {classes} classes"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let names =
            ["tabby cat", "kit fox", "red fox", "crane", "Crane"].map(str::to_owned).to_vec();
        let ids = ["n02123045", "n02119789", "n02119022", "n1", "n2"].map(str::to_owned).to_vec();
        Labels::new(Some(names), Some(ids), None, 5).unwrap()
    }

    #[test]
    fn a_class_is_found_by_label_wordnet_id_or_index() {
        for name in ["red fox", "Red Fox", "n02119022", "2"] {
            assert_eq!(labels().find(name), Ok(2), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_brings_suggestions() {
        let line = |name| labels().find(name).unwrap_err().to_string();
        assert!(line("fox").ends_with("did you mean `kit fox` or `red fox`?"), "{}", line("fox"));
        assert!(line("taby cat").ends_with("did you mean `tabby cat`?"));
        assert!(line("5").ends_with("an index from 0 to 4"));
        assert!(line("zeppelin").ends_with("an index from 0 to 4"));
    }

    #[test]
    fn a_name_of_several_classes_is_refused_with_their_indices() {
        assert!(labels().find("crane").unwrap_err().to_string().ends_with("3, 4"));
        assert_eq!(labels().find("n2"), Ok(4));
    }

    #[test]
    fn classes_without_names_are_called_by_their_index() {
        let labels = Labels::new(None, None, None, 20).unwrap();
        assert_eq!(labels.name(17), "class 17");
        assert_eq!(labels.find("class 17"), Ok(17));
        assert_eq!(labels.wordnet_id(17), None);
    }

    #[test]
    fn a_labels_file_must_have_a_line_a_class() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cat\r\ndog\n").unwrap();
        let labels = Labels::new(Some(vec!["a".into(); 2]), None, Some(file.path()), 2).unwrap();
        assert_eq!((labels.name(0), labels.name(1)), ("cat", "dog"));
        let error = Labels::new(None, None, Some(file.path()), 3).unwrap_err();
        assert!(
            error.to_string().ends_with("it has 2 lines, but the network has 3 classes"),
            "{error}"
        );
    }
}
