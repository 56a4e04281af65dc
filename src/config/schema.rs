//! The JSON Schema of the file, for editors: made from the sections that the reader reads.

use schemars::generate::SchemaSettings;

use crate::config::written;

/// The schema as indented JSON, ending in a newline.
#[must_use]
pub fn json() -> String {
    let schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<written::Proxy>();
    let mut text = format!("{:#}", schema.to_value());
    text.push('\n');
    text
}
