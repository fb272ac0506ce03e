//! Names as long as those of people who keep their whole plan in them.

use super::name::Name;
use super::world::AdAccount;
use crate::history::Random;

const SYLLABLES: [&str; 48] = [
    "ad", "al", "ar", "ba", "be", "bo", "ca", "ce", "con", "da", "de", "di", "el", "en", "fa", "fi", "for", "ga", "go",
    "ha", "in", "ka", "la", "le", "lo", "ma", "me", "mi", "mon", "na", "ne", "no", "or", "pa", "per", "ra", "re", "ri",
    "sa", "se", "sol", "ta", "te", "ti", "tor", "ve", "vi", "zu",
];
const BETWEEN: [&str; 6] = [" ", "_", " | ", "-", " ", "_"];

impl AdAccount {
    /// Gives every ad, ad set and campaign a name of so many characters: made-up words, drawn by its id, so that equal
    /// ids have equal names and compression finds no more in them than in real ones.
    pub fn rename(&mut self, chars: usize) {
        for ad in &mut self.ads {
            ad.name = long_name(&ad.id, chars);
            ad.adset_name = long_name(&ad.adset_id, chars);
            ad.campaign_name = long_name(&ad.campaign_id, chars);
        }
    }
}

fn long_name(id: &str, chars: usize) -> Name {
    let seed = id.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = Random::new(seed);
    let mut pick = |from: &[&'static str]| from[random.below(from.len() as u64) as usize];
    let mut text = String::with_capacity(chars + 12);
    while text.len() < chars {
        for _ in 0..3 {
            text += pick(&SYLLABLES);
        }
        text += pick(&BETWEEN);
    }
    text.truncate(chars);
    // A name does not end with a space.
    if text.ends_with(' ') {
        text.pop();
        text.push('x');
    }
    Name::new(&text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::asking::window;
    use super::*;

    #[test]
    fn names_are_as_long_as_wanted_and_those_of_a_campaign_are_one() {
        for chars in [1, 40, 300] {
            let mut account = AdAccount::demo("act_1", "UTC", "EUR", window(1), 40);
            account.rename(chars);
            let campaigns: BTreeSet<_> =
                account.ads.iter().map(|ad| (&ad.campaign_id, ad.campaign_name.json().to_owned())).collect();
            assert_eq!(campaigns.len(), 40usize.div_ceil(6));
            for name in account.ads.iter().flat_map(|ad| [&ad.name, &ad.adset_name, &ad.campaign_name]) {
                let text: String = serde_json::from_str(name.json()).unwrap();
                assert_eq!(text.len(), chars, "{text}");
            }
            let names: BTreeSet<_> = account.ads.iter().map(|ad| ad.name.json().to_owned()).collect();
            assert!(chars == 1 || names.len() == 40);
        }
    }
}
