//! Who may do what where: one function for join, live, replay, presence, history and send (P-F4, V4, V5).

use super::{HubConfig, Principal, fold::is_internal};
use crate::log::RoomKey;
use std::fmt;
use wardline::{
    model::ids::TenantId,
    planted::{Bug, planted},
    protocol::{Address, Code, address::PUBLIC_TENANT, frames::ErrorBody},
};

/// The room below a namespace that carries its commands (P-S8).
pub const COMMANDS: &str = "commands";
/// The role that answers commands and acts for its whole tenant.
pub const SERVICE: &str = "service";
/// The role that sees everything of its tenant.
pub const ADMIN: &str = "admin";

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Become a member.
    Join,
    /// Receive what comes.
    Live,
    /// Receive what was.
    Replay,
    /// See who is there.
    Presence,
    /// Read a page of the log by a call.
    History,
    /// Send.
    Send,
    /// Publish for a whole tenant, by the server's own code or its publish API (P-K5).
    Publish,
}

impl Action {
    /// What is refused with [`Code::FORBIDDEN`], in words that are the same whether the room
    /// exists or not.
    #[must_use]
    pub const fn refusal(self) -> &'static str {
        match self {
            Self::Join | Self::Live => "you may not join this room, or it does not exist",
            Self::Replay | Self::History => {
                "you may not read the history of this room, or it does not exist"
            }
            Self::Presence => "you may not see who is in this room, or it does not exist",
            Self::Send => "you may not send to this room, or it does not exist",
            Self::Publish => "this tenant may not publish to this room, or it does not exist",
        }
    }
}

/// Decides about the ownership of resources, after the built-in rules allowed something (V5).
///
/// Pure: the same question has the same answer until the principal changes.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Allows or refuses.
    ///
    /// # Errors
    /// The code the client is told; [`Code::FORBIDDEN`] unless there is a better word.
    fn authorize(
        &self,
        principal: &Principal,
        address: &Address,
        action: Action,
    ) -> Result<(), Code>;
}

/// Allows whatever the built-in rules allow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Authorizer for Open {
    fn authorize(&self, _: &Principal, _: &Address, _: Action) -> Result<(), Code> {
        Ok(())
    }
}

/// The log key of a room, seen from a tenant: `public:` rooms live in a tenant of their own (P-F4).
#[must_use]
pub fn room_key(tenant: &TenantId, room: &Address) -> RoomKey {
    let tenant = if is_public(room) { TenantId::from(PUBLIC_TENANT) } else { tenant.clone() };
    RoomKey { tenant, room: room.clone() }
}

/// Whether a room belongs to every tenant.
#[must_use]
pub fn is_public(room: &Address) -> bool {
    room.parts().next() == Some("public")
}

/// Whether a room carries the commands of its namespace (P-S8).
#[must_use]
pub fn is_commands(room: &Address) -> bool {
    room.room() == COMMANDS
}

/// Whether a principal may do something in a room. The only place that decides so.
///
/// # Errors
/// [`Code::FORBIDDEN`], for rooms that do not exist too; or the authorizer's word.
pub fn authorize(
    config: &HubConfig,
    principal: &Principal,
    room: &Address,
    action: Action,
) -> Result<(), Code> {
    if allowed(config, principal, room, action) {
        config.authorizer.authorize(principal, room, action)
    } else {
        Err(Code::FORBIDDEN)
    }
}

/// Whether something may be published to a room: by [`authorize`], with the server's own code as a
/// service of the tenant.
///
/// # Errors
/// [`Code::BAD_ROOM`] for a namespace or room that no tenant has; [`Code::FORBIDDEN`] for one of
/// another tenant; or the authorizer's word.
pub fn authorize_publish(
    config: &HubConfig,
    tenant: &TenantId,
    by: Option<&Principal>,
    room: &Address,
) -> Result<(), ErrorBody> {
    let error = |code, message: &str| ErrorBody { code, message: message.to_owned() };
    if !config.namespaces.contains_key(room.namespace()) {
        return Err(error(Code::BAD_ROOM, "no such namespace"));
    }
    if is_internal(room) {
        return Err(error(Code::BAD_ROOM, "an internal room"));
    }
    let verdict = match by {
        // Whoever brings a token of one tenant does not publish for another.
        Some(principal) if principal.tenant != *tenant => Err(Code::FORBIDDEN),
        Some(principal) => authorize(config, principal, room, Action::Publish),
        None => {
            let own = Principal {
                tenant: tenant.clone(),
                user: "".into(),
                organization: None,
                roles: vec![SERVICE.into()],
                token_id: None,
                issued: 0,
                expires: None,
            };
            if allowed(config, &own, room, Action::Publish) { Ok(()) } else { Err(Code::FORBIDDEN) }
        }
    };
    verdict.map_err(|code| error(code, Action::Publish.refusal()))
}

fn allowed(config: &HubConfig, principal: &Principal, room: &Address, action: Action) -> bool {
    let Some(namespace) = config.namespaces.get(room.namespace()) else { return false };
    if is_internal(room) || !namespace.has(room) {
        return false;
    }
    let service = principal.has_role(SERVICE);
    // Of its own tenant: `admin` sees everything, `service` acts everywhere.
    let publishes = action == Action::Publish;
    let beyond_claims =
        service || publishes || (action != Action::Send && principal.has_role(ADMIN));
    let parts: Vec<&str> = room.parts().collect();
    let part = |index: usize| parts.get(index).copied();
    let first = part(0).unwrap_or_default();
    let own_tenant = |named: Option<&str>| {
        named.is_some_and(|named| {
            if planted(Bug::PrefixTenant) {
                return named.starts_with(principal.tenant.as_str());
            }
            named == principal.tenant.as_str()
        })
    };
    let own_user = |named: Option<&str>| beyond_claims || named == Some(principal.user.as_str());
    let by_first = match first {
        "tenant" => own_tenant(part(1)),
        "user" => part(1).is_some() && own_user(part(1)),
        "notifications" => own_tenant(part(1)) && part(2).is_some() && own_user(part(2)),
        "public" => action != Action::Send,
        "role" => part(1).is_some_and(|role| beyond_claims || principal.has_role(role)),
        COMMANDS if parts.len() == 1 => matches!(action, Action::Send | Action::Publish) || service,
        // The tenant of public rooms has no others.
        _ => principal.tenant.as_str() != PUBLIC_TENANT,
    };
    let organizations =
        parts.iter().enumerate().filter(|(_, part)| **part == "org").all(|(index, _)| {
            match (part(index + 1), &principal.organization) {
                (None, _) => false,
                (Some(_), _) if beyond_claims => true,
                (Some(named), Some(own)) => named == own.as_str(),
                (Some(_), None) => false,
            }
        });
    let roles = namespace.roles.get(first).is_none_or(|roles| {
        service || publishes || roles.iter().any(|role| principal.has_role(role))
    });
    by_first && organizations && roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Namespace, RoomStrategy};
    use std::sync::Arc;

    fn principal(tenant: &str, roles: &[&str]) -> Principal {
        Principal {
            tenant: tenant.into(),
            user: "7".into(),
            organization: Some("o1".into()),
            roles: roles.iter().map(|role| Arc::from(*role)).collect(),
            token_id: None,
            issued: 0,
            expires: None,
        }
    }

    fn may(who: &Principal, room: &str, action: Action) -> bool {
        let config = HubConfig::default();
        authorize(&config, who, &room.parse().unwrap(), action).is_ok()
    }

    #[test]
    fn tenant_1_may_not_read_tenant_10_admin() {
        let one = principal("1", &[]);
        assert!(may(&one, "alerts/tenant:1", Action::Join));
        assert!(may(&one, "alerts/tenant:1:admin", Action::Join));
        for room in ["alerts/tenant:10", "alerts/tenant:10:admin", "alerts/tenant"] {
            for action in [Action::Join, Action::Replay, Action::History, Action::Send] {
                assert!(!may(&one, room, action), "{room} {action:?}");
                assert!(!may(&principal("1", &[SERVICE, ADMIN]), room, action), "{room}");
            }
        }
    }

    #[test]
    fn v4_claims_are_compared_part_by_part() {
        let one = principal("1", &[]);
        for (room, want) in [
            ("default/user:7", true),
            ("default/user:77", false),
            ("default/user", false),
            ("default/notifications:1:7:all", true),
            ("default/notifications:1:8:all", false),
            ("default/notifications:2:7:all", false),
            ("default/org:o1", true),
            ("default/org:o2", false),
            ("default/org", false),
            ("dispatch/channel:5:org:o1", true),
            ("dispatch/incident:5:org:o2", false),
            ("dispatch/asset:5:org", false),
            ("default/investigation:9", true),
            ("default/role:analyst", false),
            ("nowhere/tenant:1", false),
            ("alerts/~state", false),
        ] {
            assert_eq!(may(&one, room, Action::Join), want, "{room}");
        }
        assert!(may(&principal("1", &["analyst"]), "default/role:analyst", Action::Send));
    }

    #[test]
    fn public_rooms_are_read_by_all_and_written_by_none() {
        let one = principal("1", &[SERVICE, ADMIN]);
        assert!(may(&one, "alerts/public:news", Action::Join));
        assert!(!may(&one, "alerts/public:news", Action::Send));
        let room: Address = "alerts/public:news".parse().unwrap();
        assert_eq!(room_key(&"1".into(), &room).tenant.as_str(), PUBLIC_TENANT);
    }

    #[test]
    fn p_k5_publishing_stays_within_the_tenant() {
        let config = HubConfig::default();
        let ask = |tenant: &str, by: Option<&Principal>, room: &str| {
            authorize_publish(&config, &tenant.into(), by, &room.parse().unwrap())
                .map_err(|error| error.code)
        };
        for (room, want) in [
            ("default/tenant:1", Ok(())),
            ("default/tenant:1:any", Ok(())),
            ("default/tenant:10", Err(Code::FORBIDDEN)),
            ("default/tenant", Err(Code::FORBIDDEN)),
            ("default/notifications:1:7:all", Ok(())),
            ("default/notifications:2:7:all", Err(Code::FORBIDDEN)),
            ("default/notifications:1", Err(Code::FORBIDDEN)),
            ("default/user:8", Ok(())),
            ("default/user", Err(Code::FORBIDDEN)),
            ("dispatch/incident:5:org:o2", Ok(())),
            ("dispatch/incident:5:org", Err(Code::FORBIDDEN)),
            ("alerts/public:news", Ok(())),
            ("video/commands", Ok(())),
            ("alerts/~alerts", Err(Code::BAD_ROOM)),
            ("nowhere/a", Err(Code::BAD_ROOM)),
        ] {
            assert_eq!(ask("1", None, room), want, "{room}");
            assert_eq!(ask("1", Some(&principal("1", &[ADMIN])), room), want, "{room}");
        }
        assert_eq!(ask("2", Some(&principal("1", &[SERVICE])), "default/a"), Err(Code::FORBIDDEN));
        assert_eq!(ask(PUBLIC_TENANT, None, "alerts/public:news"), Ok(()));
        assert_eq!(ask(PUBLIC_TENANT, None, "alerts/news"), Err(Code::FORBIDDEN));
    }

    #[test]
    fn p_s8_commands_are_sent_by_all_and_joined_by_services() {
        assert!(may(&principal("1", &[]), "video/commands", Action::Send));
        assert!(!may(&principal("1", &[ADMIN]), "video/commands", Action::Join));
        assert!(may(&principal("1", &[SERVICE]), "video/commands", Action::Join));
    }

    #[test]
    fn an_admin_sees_its_tenant_but_does_not_speak_for_it() {
        let admin = principal("1", &[ADMIN]);
        assert!(may(&admin, "default/user:8", Action::History));
        assert!(may(&admin, "dispatch/incident:5:org:o2", Action::Join));
        assert!(!may(&admin, "dispatch/incident:5:org:o2", Action::Send));
    }

    #[test]
    fn v1_a_namespace_has_the_rooms_of_its_strategy() {
        let mut config = HubConfig::default();
        for (name, strategy) in [
            ("t", RoomStrategy::Tenant),
            ("o", RoomStrategy::Organization),
            ("c", RoomStrategy::Custom),
        ] {
            let space = Namespace { strategy, ..Namespace::default() };
            config.namespaces.insert(name.to_owned(), space);
        }
        let one = principal("1", &[SERVICE, ADMIN]);
        let who = principal("1", &[]);
        for (room, tenant, organization) in [
            ("tenant:1:floor", true, false),
            ("org:o1", false, true),
            ("gate:4:org:o1", false, true),
            ("gate:4", false, false),
            ("user:7", true, true),
            ("public:news", true, true),
        ] {
            for (name, want) in [("t", tenant), ("o", organization), ("c", true)] {
                let room = Address::new(name, room).unwrap();
                assert_eq!(authorize(&config, &who, &room, Action::Join).is_ok(), want, "{room}");
                assert_eq!(authorize(&config, &one, &room, Action::Join).is_ok(), want, "{room}");
                let published = authorize_publish(&config, &"1".into(), None, &room);
                assert_eq!(published.is_ok(), want, "{room}");
            }
        }
    }

    #[test]
    fn role_rooms_and_the_authorizer_refuse() {
        #[derive(Debug)]
        struct NoCameras;
        impl Authorizer for NoCameras {
            fn authorize(&self, _: &Principal, room: &Address, _: Action) -> Result<(), Code> {
                if room.namespace() == "video" { Err(Code::NOT_FOUND) } else { Ok(()) }
            }
        }
        let mut config = HubConfig { authorizer: Arc::new(NoCameras), ..HubConfig::default() };
        if let Some(space) = config.namespaces.get_mut("alerts") {
            space.roles.insert("ops".into(), ["operator".to_owned()].into());
        }
        let ask = |who: &Principal, room: &str| {
            authorize(&config, who, &room.parse().unwrap(), Action::Join)
        };
        assert_eq!(ask(&principal("1", &[]), "video/camera:1"), Err(Code::NOT_FOUND));
        assert_eq!(ask(&principal("1", &[]), "alerts/ops:1"), Err(Code::FORBIDDEN));
        assert_eq!(ask(&principal("1", &["operator"]), "alerts/ops:1"), Ok(()));
    }
}
