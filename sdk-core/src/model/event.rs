//! How a namespace's events become one enum: decoded by name, unknown ones kept as they came (C9).

/// Declares the enum of a namespace's events with `decode`, `encode`, `name` and `NAMES`, its JSON
/// form `{event, data}` and its TypeScript union.
macro_rules! events {
    ($(#[$meta:meta])* $enum:ident in $namespace:literal {
        $($(#[$variant_meta:meta])* $variant:ident($body:ident) = $name:literal $(| $alias:literal)*,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
        pub enum $enum {
            $($(#[$variant_meta])* $variant($body),)+
            /// An event this version does not know, or whose data does not fit: as it came (C9).
            Unknown {
                /// Its name.
                event: String,
                /// Its data.
                data: $crate::protocol::Json,
            },
        }

        impl $enum {
            /// The names this version knows, in their canonical spelling.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Reads an event by its name. A name may carry the namespace in front
            /// (`stream:started`, `video:stream:started`).
            #[must_use]
            pub fn decode(event: &str, data: &$crate::protocol::Json) -> Self {
                let name = event.strip_prefix(concat!($namespace, ":")).unwrap_or(event);
                let known = match name {
                    $($name $(| $alias)* => data.to().map(Self::$variant).ok(),)+
                    _ => None,
                };
                known.unwrap_or_else(|| Self::Unknown {
                    event: event.to_owned(),
                    data: data.clone(),
                })
            }

            /// The canonical name; of an unknown event, the name it came with.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)+
                    Self::Unknown { event, .. } => event,
                }
            }

            /// Writes the data.
            ///
            /// # Errors
            /// The data breaks a rule of P-F1 (nesting, duplicate keys).
            pub fn encode(
                &self,
            ) -> Result<(String, $crate::protocol::Json), $crate::protocol::json::JsonError> {
                let data = match self {
                    $(Self::$variant(body) => $crate::protocol::Json::of(body)?,)+
                    Self::Unknown { data, .. } => data.clone(),
                };
                Ok((self.name().to_owned(), data))
            }
        }

        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(stringify!($enum), 2)?;
                object.serialize_field("event", self.name())?;
                match self {
                    $(Self::$variant(body) => object.serialize_field("data", body)?,)+
                    Self::Unknown { data, .. } => object.serialize_field("data", data)?,
                }
                object.end()
            }
        }

        #[cfg(feature = "tsify")]
        const _: () = {
            use wasm_bindgen::prelude::wasm_bindgen;
            #[wasm_bindgen(typescript_custom_section)]
            const UNION: &str = concat!(
                "export type ", stringify!($enum), " =",
                $("\n  | { event: \"", $name, "\"; data: ", stringify!($body), " }",)+
                "\n  | { event: string; data: unknown };\n",
            );
        };
    };
}

pub(crate) use events;
