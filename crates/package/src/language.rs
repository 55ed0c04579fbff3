//! Language tags of containers in, those of manifests (BCP 47) and of `mdhd` (ISO 639-2) out.
//!
//! Containers give three letters of ISO 639-2, in its terminology or bibliographic form; BCP 47
//! wants the two of ISO 639-1 where they exist (RFC 5646 §2.2.1), and players match on them.

/// Two letters and their terminology code.
const TERMINOLOGY: &str = "\
    aa=aar ab=abk ae=ave af=afr ak=aka am=amh an=arg ar=ara as=asm av=ava ay=aym az=aze ba=bak be=bel bg=bul \
    bi=bis bm=bam bn=ben bo=bod br=bre bs=bos ca=cat ce=che ch=cha co=cos cr=cre cs=ces cu=chu cv=chv cy=cym \
    da=dan de=deu dv=div dz=dzo ee=ewe el=ell en=eng eo=epo es=spa et=est eu=eus fa=fas ff=ful fi=fin fj=fij \
    fo=fao fr=fra fy=fry ga=gle gd=gla gl=glg gn=grn gu=guj gv=glv ha=hau he=heb hi=hin ho=hmo hr=hrv ht=hat \
    hu=hun hy=hye hz=her ia=ina id=ind ie=ile ig=ibo ii=iii ik=ipk io=ido is=isl it=ita iu=iku ja=jpn jv=jav \
    ka=kat kg=kon ki=kik kj=kua kk=kaz kl=kal km=khm kn=kan ko=kor kr=kau ks=kas ku=kur kv=kom kw=cor ky=kir \
    la=lat lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lu=lub lv=lav mg=mlg mh=mah mi=mri mk=mkd ml=mal mn=mon \
    mr=mar ms=msa mt=mlt my=mya na=nau nb=nob nd=nde ne=nep ng=ndo nl=nld nn=nno no=nor nr=nbl nv=nav ny=nya \
    oc=oci oj=oji om=orm or=ori os=oss pa=pan pi=pli pl=pol ps=pus pt=por qu=que rm=roh rn=run ro=ron ru=rus \
    rw=kin sa=san sc=srd sd=snd se=sme sg=sag si=sin sk=slk sl=slv sm=smo sn=sna so=som sq=sqi sr=srp ss=ssw \
    st=sot su=sun sv=swe sw=swa ta=tam te=tel tg=tgk th=tha ti=tir tk=tuk tl=tgl tn=tsn to=ton tr=tur ts=tso \
    tt=tat tw=twi ty=tah ug=uig uk=ukr ur=urd uz=uzb ve=ven vi=vie vo=vol wa=wln wo=wol xh=xho yi=yid yo=yor \
    za=zha zh=zho zu=zul";

/// Two letters and their bibliographic code, where there is another.
const BIBLIOGRAPHIC: &str = "\
    bo=tib cs=cze cy=wel de=ger el=gre eu=baq fa=per fr=fre hy=arm is=ice ka=geo mi=mao mk=mac ms=may my=bur \
    nl=dut ro=rum sk=slo sq=alb zh=chi";

fn pairs(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table
        .split_ascii_whitespace()
        .filter_map(|pair| pair.split_once('='))
}

/// Returns the language as BCP 47 writes it, "en" for "eng"; `None` when it is unknown or no tag at
/// all.
#[must_use]
pub fn bcp47(tag: &str) -> Option<String> {
    let fits = |subtag: &str| {
        (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !tag.split('-').all(fits) {
        return None;
    }
    let (primary, rest) = tag.split_at(tag.find('-').unwrap_or(tag.len()));
    let primary = primary.to_ascii_lowercase();
    if primary == "und" || primary.len() < 2 {
        return None;
    }
    let short = pairs(TERMINOLOGY)
        .chain(pairs(BIBLIOGRAPHIC))
        .find(|(_, long)| *long == primary)
        .map_or(primary.as_str(), |(short, _)| short);
    Some(format!("{short}{rest}"))
}

/// Returns the three letters of a BCP 47 tag's language, in the terminology form; `None` when there
/// are none.
pub(crate) fn iso639_2(tag: &str) -> Option<&str> {
    let primary = tag.split('-').next()?;
    if primary.len() == 3 {
        return Some(primary);
    }
    pairs(TERMINOLOGY)
        .find(|(short, _)| *short == primary)
        .map(|(_, long)| long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_three_letters_become_two() {
        assert_eq!(bcp47("eng").as_deref(), Some("en"));
        assert_eq!(bcp47("deu").as_deref(), Some("de"));
        assert_eq!(bcp47("ger").as_deref(), Some("de"));
        assert_eq!(bcp47("FRE").as_deref(), Some("fr"));
    }

    #[test]
    fn what_has_no_two_letters_stays() {
        assert_eq!(bcp47("gsw").as_deref(), Some("gsw"));
        assert_eq!(bcp47("pt-BR").as_deref(), Some("pt-BR"));
        assert_eq!(bcp47("por-BR").as_deref(), Some("pt-BR"));
    }

    #[test]
    fn unknown_is_no_language() {
        for tag in ["und", "", "e", "en_US", "en-", "\"><x", "abcdefghi"] {
            assert_eq!(bcp47(tag), None, "{tag}");
        }
    }

    #[test]
    fn two_letters_become_three() {
        assert_eq!(iso639_2("de"), Some("deu"));
        assert_eq!(iso639_2("pt-BR"), Some("por"));
        assert_eq!(iso639_2("gsw"), Some("gsw"));
        assert_eq!(iso639_2("qq"), None);
    }

    #[test]
    fn the_tables_hold_pairs_of_two_and_three_letters() {
        assert_eq!(pairs(TERMINOLOGY).count(), 183);
        assert_eq!(pairs(BIBLIOGRAPHIC).count(), 20);
        let fits = |(short, long): (&str, &str)| short.len() == 2 && long.len() == 3;
        assert!(pairs(TERMINOLOGY).chain(pairs(BIBLIOGRAPHIC)).all(fits));
    }
}
