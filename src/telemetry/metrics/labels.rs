//! Metric labels. Their values are enums, so that the cardinality of every metric is fixed.

/// The label values of one API, given by the API itself: fixed lists, so that no client can add a
/// series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLabels {
    /// The API's name.
    pub api: &'static str,
    /// Its routes as templates, never as a client wrote them.
    pub routes: &'static [&'static str],
    /// Its families of microversions. The first one counts requests without a negotiated version.
    pub versions: &'static [&'static str],
}

/// An enum whose variants are words, numbered from zero in the order of `ALL`.
macro_rules! label {
    ($(#[$of_enum:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$of_enum])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)+
        }

        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The words for them, in the same order.
            pub const WORDS: &[&'static str] = &[$($word),+];

            /// The word for it in metrics and in the access log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl prometheus_client::encoding::EncodeLabelValue for $name {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder,
            ) -> std::fmt::Result {
                std::fmt::Write::write_str(encoder, self.as_str())
            }
        }
    };
}

pub(crate) use label;

label! {
    /// A method.
    MethodLabel {
        /// `GET`
        Get => "GET",
        /// `HEAD`
        Head => "HEAD",
        /// `POST`
        Post => "POST",
        /// `PUT`
        Put => "PUT",
        /// `PATCH`
        Patch => "PATCH",
        /// `DELETE`
        Delete => "DELETE",
        /// `OPTIONS`
        Options => "OPTIONS",
        /// Whatever else a client invents.
        Other => "other",
    }
}

impl MethodLabel {
    /// The label of a method as the client wrote it; letters count.
    #[must_use]
    pub fn of(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

label! {
    /// A status.
    StatusLabel {
        /// 200
        Ok => "200",
        /// 201
        Created => "201",
        /// 202
        Accepted => "202",
        /// 204
        NoContent => "204",
        /// 206
        PartialContent => "206",
        /// 300
        MultipleChoices => "300",
        /// 304
        NotModified => "304",
        /// 400
        BadRequest => "400",
        /// 401
        Unauthorized => "401",
        /// 403
        Forbidden => "403",
        /// 404
        NotFound => "404",
        /// 406
        NotAcceptable => "406",
        /// 408
        RequestTimeout => "408",
        /// 409
        Conflict => "409",
        /// 413
        TooLarge => "413",
        /// 414
        TargetTooLong => "414",
        /// 415
        UnsupportedType => "415",
        /// 429
        TooMany => "429",
        /// 500
        Internal => "500",
        /// 501
        NotImplemented => "501",
        /// 502
        BadGateway => "502",
        /// 503
        Unavailable => "503",
        /// 504
        GatewayTimeout => "504",
        /// 508
        LoopDetected => "508",
        /// Any other.
        Other => "other",
        /// None: the client left before there was an answer.
        Abandoned => "abandoned",
    }
}

impl StatusLabel {
    /// The label of a status, or of having none.
    #[must_use]
    pub const fn of(status: Option<u16>) -> Self {
        let Some(status) = status else {
            return Self::Abandoned;
        };
        match status {
            200 => Self::Ok,
            201 => Self::Created,
            202 => Self::Accepted,
            204 => Self::NoContent,
            206 => Self::PartialContent,
            300 => Self::MultipleChoices,
            304 => Self::NotModified,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            406 => Self::NotAcceptable,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            414 => Self::TargetTooLong,
            415 => Self::UnsupportedType,
            429 => Self::TooMany,
            500 => Self::Internal,
            501 => Self::NotImplemented,
            502 => Self::BadGateway,
            503 => Self::Unavailable,
            504 => Self::GatewayTimeout,
            508 => Self::LoopDetected,
            _ => Self::Other,
        }
    }
}

label! {
    /// How the answer cache takes part in a request.
    CacheLabel {
        /// The answer was in the cache and fresh.
        Hit => "hit",
        /// Glance was called.
        Miss => "miss",
        /// The call of another request to Glance was shared.
        Coalesced => "coalesced",
        /// Glance failed, and a stale response was served.
        Stale => "stale",
        /// The request is not one for the cache.
        Bypass => "bypass",
    }
}

label! {
    /// The outcome of one call to another service.
    CallOutcome {
        /// An answer with this class of status.
        Success => "2xx",
        /// As it says.
        Redirect => "3xx",
        /// As it says.
        ClientError => "4xx",
        /// As it says.
        ServerError => "5xx",
        /// A status that is none.
        InvalidStatus => "invalid_status",
        /// No connection.
        Connect => "connect",
        /// No complete answer in time.
        Timeout => "timeout",
        /// The connection broke.
        Interrupted => "interrupted",
        /// The answer was too large.
        TooLarge => "too_large",
        /// No client waits for the response any more.
        Canceled => "canceled",
    }
}

impl CallOutcome {
    /// The outcome of an answer with this status.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::InvalidStatus,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_numbered_as_they_are_listed() {
        for (index, label) in StatusLabel::ALL.iter().enumerate() {
            assert_eq!(*label as usize, index);
        }
    }

    #[test]
    fn every_status_and_method_has_one_of_the_labels() {
        for status in 0..=u16::MAX {
            let label = StatusLabel::of(Some(status));
            let word = status.to_string();
            assert!(label.as_str() == word || label == StatusLabel::Other);
        }
        assert_eq!(StatusLabel::of(None), StatusLabel::Abandoned);
        for method in ["get", "GET ", "", "PROPFIND", "G\u{e9}T"] {
            assert_eq!(MethodLabel::of(method), MethodLabel::Other);
        }
        for label in MethodLabel::ALL {
            let expected = (*label != MethodLabel::Other).then_some(*label);
            let found = MethodLabel::of(label.as_str());
            assert_eq!(found, expected.unwrap_or(MethodLabel::Other));
        }
    }
}
