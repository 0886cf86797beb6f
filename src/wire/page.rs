//! Pages of a list: how many, and where the one before ended.
//!
//! A token is the last name of the page before, in base64; clients take it as it is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ibid_core::NameError;
use ibid_engine::Invalid;

const ENTRIES_DEFAULT: usize = 100;
const ENTRIES_MAX: usize = 1_000;

/// Which page is wanted.
pub(crate) struct Page<Name> {
    /// The list goes on behind this one.
    pub(crate) after: Option<Name>,
    entries: usize,
}

impl<Name> Page<Name> {
    /// Reads `page_size` and `page_token`; `new` is the constructor of the names listed.
    pub(crate) fn parse(
        page_size: u32,
        page_token: &str,
        new: impl Fn(&str) -> Result<Name, NameError>,
    ) -> Result<Page<Name>, Invalid> {
        let entries = match page_size as usize {
            0 => ENTRIES_DEFAULT,
            entries @ 1..=ENTRIES_MAX => entries,
            given => return Err(Invalid::new("page_size", format!("is {given}, expected 1 to {ENTRIES_MAX}, or 0"))),
        };
        let after = match page_token {
            "" => None,
            token => {
                let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let name = name.and_then(|name| new(&name).ok());
                let problem = "is not the next_page_token of an earlier reply";
                Some(name.ok_or_else(|| Invalid::new("page_token", problem))?)
            }
        };
        Ok(Page { after, entries })
    }

    /// How many to fetch: one more than is shown says whether there is a next page.
    pub(crate) fn fetch(&self) -> usize {
        self.entries + 1
    }

    /// Cuts what was fetched to the page, and gives the token for the next one: empty on the last.
    pub(crate) fn cut<T>(&self, mut fetched: Vec<T>, name: impl Fn(&T) -> &str) -> (Vec<T>, String) {
        if fetched.len() <= self.entries {
            return (fetched, String::new());
        }
        fetched.truncate(self.entries);
        let token = fetched.last().map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        (fetched, token.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibid_core::DocumentId;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all: Vec<String> = (0..5).map(|n| format!("ä{n}")).collect();
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = Page::parse(2, &token, DocumentId::new).unwrap();
            let after = page.after.as_ref().map_or("", DocumentId::as_str);
            let fetched = all.iter().filter(|name| name.as_str() > after).take(page.fetch()).cloned().collect();
            let (shown, next) = page.cut(fetched, |name: &String| name);
            seen.extend(shown);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_token_or_size_that_makes_no_sense_is_named() {
        let field = |size, token| Page::parse(size, token, DocumentId::new).err().map(|invalid| invalid.field);
        assert_eq!(field(1_001, "").as_deref(), Some("page_size"));
        assert_eq!(field(1, "?").as_deref(), Some("page_token"));
        assert_eq!(field(0, "").as_deref(), None);
    }
}
