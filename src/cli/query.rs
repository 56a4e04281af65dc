//! Paths of the control socket with parameters.

/// A path, and what stands after its question mark.
#[derive(Debug)]
pub struct Query {
    path: String,
    empty: bool,
}

impl Query {
    /// A path without parameters.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), empty: true }
    }

    /// Adds a parameter; every byte of the value that might mean something is escaped.
    pub fn add(&mut self, name: &str, value: &str) {
        self.path.push(if self.empty { '?' } else { '&' });
        self.empty = false;
        self.path.push_str(name);
        self.path.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.path.push(char::from(byte));
            } else {
                self.path.push_str(&format!("%{byte:02X}"));
            }
        }
    }

    /// Adds a parameter if there is a value.
    pub fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// What to ask for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_become_another_parameter() {
        let mut query = Query::new("/v1/why");
        assert_eq!(query.path(), "/v1/why");
        query.add("colour", "green");
        query.add_some("upstream", Some("a&b=c d%ü"));
        query.add_some("build", None);
        assert_eq!(query.path(), "/v1/why?colour=green&upstream=a%26b%3Dc%20d%25%C3%BC");
    }
}
