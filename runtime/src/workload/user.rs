//! Who a workload runs as, from the box's own `/etc/passwd` and `/etc/group`.
//!
//! Invariant: a name that is not found is an error, never root.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Every group it is in, `gid` included.
    pub groups: Vec<u32>,
    pub home: String,
}

/// By name, or by number.
pub fn find(name: &str) -> std::io::Result<Option<User>> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    Ok(find_in(name, &passwd, &group))
}

/// passwd(5), group(5).
fn find_in(name: &str, passwd: &str, group: &str) -> Option<User> {
    let user = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (found, uid) = (*fields.first()?, *fields.get(2)?);
        (found == name || uid == name).then_some(())?;
        let (uid, gid) = (uid.parse().ok()?, fields.get(3)?.parse().ok()?);
        let home = (*fields.get(5)?).to_owned();
        Some(User { name: found.to_owned(), uid, gid, groups: vec![gid], home })
    })?;
    let mut groups = user.groups.clone();
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(gid), Some(members)) = (fields.next(), fields.next()) else { continue };
        let Ok(gid) = gid.parse() else { continue };
        if members.split(',').any(|member| member == user.name) && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Some(User { groups, ..user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number_with_all_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nml:x:990:985::/srv/ml:/bin/false\nbroken\n";
        let group = "root:x:0:\nvideo:x:44:ml,root\nrender:x:105:other,ml\nml:x:985:ml\n";
        let ml = find_in("ml", passwd, group).expect("there");
        assert_eq!((ml.uid, ml.gid, ml.groups.clone()), (990, 985, vec![985, 44, 105]));
        assert_eq!(ml.home, "/srv/ml");
        assert_eq!(find_in("990", passwd, group), Some(ml));
        assert_eq!(find_in("nobody", passwd, group), None);
        assert_eq!(find_in("", passwd, group), None);
    }
}
