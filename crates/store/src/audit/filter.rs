//! Which records a search is for.

use pentad_model::{Id, Record, Tenant, Timestamp};

use super::fields::Fields;

/// Which records to find. All that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// On this path, or, if the text ends with `/`, on any that begins with it.
    pub path: Option<String>,
    /// By this principal, in text form.
    pub principal: Option<String>,
    /// This action, or, if the text ends with `.`, any that begins with it.
    pub action: Option<String>,
    /// Of this request.
    pub correlation: Option<Id>,
    /// Not before then.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether a record is among those sought.
    pub fn matches(&self, record: &Record) -> bool {
        self.takes(&Fields::of(record))
    }

    /// Whether a record with these fields is.
    pub(super) fn takes(&self, fields: &Fields<'_>) -> bool {
        let is = |wanted: Option<&str>, found: &[u8], open: char| match wanted {
            None => true,
            Some(wanted) if wanted.ends_with(open) => found.starts_with(wanted.as_bytes()),
            Some(wanted) => found == wanted.as_bytes(),
        };
        let tenant = self.tenant.as_ref().map(Tenant::as_str);
        tenant.is_none_or(|tenant| tenant.as_bytes() == fields.tenant)
            && self
                .principal
                .as_ref()
                .is_none_or(|wanted| wanted.as_bytes() == fields.principal)
            && match (self.path.as_deref(), fields.path) {
                (None, _) => true,
                (Some(_), None) => false,
                (wanted, Some(found)) => is(wanted, found, '/'),
            }
            && is(self.action.as_deref(), fields.action, '.')
            && self.correlation.is_none_or(|it| it == fields.correlation)
            && self.since.is_none_or(|since| since <= fields.at)
            && self.until.is_none_or(|until| fields.at < until)
    }

    /// Whether a record with these bytes may be: `false` is certain, `true` is to be looked at.
    pub(super) fn may_take(&self, leaf: &[u8]) -> bool {
        Fields::read(leaf).is_none_or(|fields| self.takes(&fields))
    }
}
