//! The route-level 404, which is a page and not a fault.

use super::media_type::ErrorPageFormat;

const PLAIN: &str = "404 Not Found\n\nThe resource could not be found.\n\n   ";
const HTML: &str = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  \
                    <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n \
                    </body>\n</html>";
const JSON: &str = "{\"message\": \"The resource could not be found.<br /><br />\\n\\n\\n\", \
                    \"code\": \"404 Not Found\", \"title\": \"Not Found\"}";

/// Content type and body of the page.
#[must_use]
pub fn not_found(page: ErrorPageFormat) -> (&'static str, &'static str) {
    match page {
        ErrorPageFormat::Html => ("text/html; charset=UTF-8", HTML),
        ErrorPageFormat::Json => ("application/json", JSON),
        ErrorPageFormat::Plain => ("text/plain; charset=UTF-8", PLAIN),
    }
}
