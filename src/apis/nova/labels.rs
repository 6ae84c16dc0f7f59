//! The metric labels of this API.

use crate::telemetry::metrics::{ApiLabels, label};

/// All label values.
pub const LABELS: ApiLabels = ApiLabels {
    api: "compute",
    routes: RouteLabel::WORDS,
    versions: VersionLabel::WORDS,
};

label! {
    /// A path as a template.
    RouteLabel {
        /// All versions.
        Root => "/",
        /// One version's document, with or without a project.
        Version => "/{version}",
        /// The list.
        Images => "/images",
        /// The list in full.
        ImagesDetail => "/images/detail",
        /// One image.
        Image => "/images/{image_id}",
        /// An image's metadata.
        Metadata => "/images/{image_id}/metadata",
        /// One metadata item.
        MetadataItem => "/images/{image_id}/metadata/{key}",
        /// A path that begins with no version.
        Unversioned => "unversioned",
        /// `OPTIONS` of any path.
        Options => "options",
        /// Any other path.
        Unknown => "unknown",
    }
}

label! {
    /// A family of microversions: all versions of one family reach the same routes.
    VersionLabel {
        /// No version was negotiated.
        None => "none",
        /// `/v2`, which has no microversions.
        V2 => "v2",
        /// Image and metadata routes exist.
        Images => "2.1-2.35",
        /// Only metadata routes exist.
        Metadata => "2.36-2.38",
        /// No route is left.
        Removed => "2.39+",
    }
}
