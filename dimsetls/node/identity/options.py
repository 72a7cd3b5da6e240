"""The sections of the INI file that are about user identities: policy, rules, and one kind for each back end."""

from __future__ import annotations

from ...identity.activities import Activity
from ...identity.credentials import Requirement
from ...identity.gate import Expiry
from ...identity.kerberos.tokens import ChannelBinding, Form
from ...identity.saml.choices import Answer, Confirmation, Use
from .. import choices, values
from ..language import Option, SectionKind
from ..values import Reference

_CERTIFICATES = values.list_of(choices.CERTIFICATE_RULE, "conditions on certificates")
_FAILURES = values.integer(0, 100000)
_OCTETS = values.integer(1, 65400)

IDENTITY = SectionKind("identity", values.NAME, "What is made of the user identities that callers present.", (
    Option("policy", values.choice({each.value: each for each in Requirement}), "require",
           "require: who presents none that is configured here is rejected. prefer: there may be none. ignore: none is "
           "looked at. One that is looked at and is not good is always rejected."),
    Option("passcode", Reference(("users", "ldap"), many=True), "",
           "Who checks user name and passcode: the first back end that knows the user.", "users local, ldap hospital"),
    Option("username", Reference(("users", "ldap"), many=True), "",
           "Who knows users that present a name alone, which proves nothing: it counts only together with one of the "
           "asserting-certificates.", "ldap hospital"),
    Option("asserting-certificates", _CERTIFICATES, "",
           "The certificates whose holders may assert a user name without a proof: a gateway that asked the user "
           "itself.", "dns:gateway.hospital.example"),
    Option("kerberos", Reference("kerberos", many=True), "", "Who checks Kerberos tickets.", "hospital"),
    Option("saml", Reference("saml", many=True), "", "Who checks SAML assertions, by issuer.", "hospital"),
    Option("jwt", Reference("jwt", many=True), "", "Who checks JSON Web Tokens, by issuer.", "hospital"),
    Option("bearer", Reference(("jwt", "introspection"), many=True), "",
           "Who checks access tokens of the bearer extension.", "jwt hospital, introspection hospital"),
    Option("certificate", Reference("certificate-identity", many=True), "",
           "Who a peer is by its certificate alone, where it presents nothing else.", "hospital"),
    Option("certificates", _CERTIFICATES, "",
           "The only certificates with which a user identity may be presented; any other is rejected and logged as a "
           "security alert.", "issuer:CN=Hospital CA"),
    Option("when-expired", values.choice({each.value: each for each in Expiry}), "refuse",
           "When an identity expires during an association: go on, refuse further operations (0124H), or abort."),
    Option("deadline", values.duration("100ms", "5m"), "10s",
           "How long one back end may take; then the association is rejected (temporary congestion)."),
    Option("remember-successes", values.duration("0s", "10m"), "0s",
           "How long a passcode that was good is not asked again, kept as a keyed hash in memory. A user who is "
           "disabled, or gets another passcode, can use the old one here for so long, or until a reload."),
    Option("failures-per-user", _FAILURES, "10",
           "After so many failures a user is locked out; from a third of them on each delays the next try. 0: never."),
    Option("failures-per-address", _FAILURES, "50", "The same for all that comes from one address."),
    Option("failures-per-certificate", _FAILURES, "50", "The same for all that comes with one certificate."),
    Option("failure-delay", values.duration("0s", "1m"), "1s",
           "The first of these delays; each further one is longer, twice at the most, and the last is a lock-out."),
    Option("refusal-time", values.duration("0s", "10s"), "500ms",
           "A wrong user name or passcode is refused no sooner than this: the time must not tell which it was."),
    Option("lock-out-time", values.duration("1s", "24h"), "15m",
           "How long a lock-out lasts, and after how long without a failure those before are forgotten."),
    Option("username-length", values.integer(1, 65400), "255",
           "The longest user name that is looked at, in bytes of UTF-8."),
    Option("passcode-length", values.integer(1, 65400), "1024", "The longest passcode, in bytes."),
    Option("kerberos-length", _OCTETS, "65400", "The longest Kerberos ticket."),
    Option("saml-length", _OCTETS, "65400", "The longest SAML assertion."),
    Option("jwt-length", _OCTETS, "16384", "The longest JSON Web Token."),
    Option("bearer-length", _OCTETS, "16384", "The longest access token."),
))

_NAMES = values.list_of(values.WORD, "names")

RULE = SectionKind("rule", values.NAME,
                   "Who may do what, for the option rules of an [ae]. All conditions on who it is must hold; each is "
                   "met by any of its values.", (
    Option("may", values.list_of(values.choice({each.value: each for each in Activity}), "activities: "
           + ", ".join(each.value for each in Activity)), None,
           "What is permitted.", "verification, store, query"),
    Option("sop-classes", values.list_of(values.UID, "SOP class UIDs"), "",
           "For these SOP classes alone; without it for all.", "1.2.840.10008.5.1.4.1.1.2"),
    Option("users", _NAMES, "", "To these users.", "alice, bob"),
    Option("groups", _NAMES, "", "To members of these groups.", "radiology"),
    Option("roles", _NAMES, "", "To who has one of these roles.", "technician"),
    Option("scopes", _NAMES, "", "To access tokens with one of these scopes; a token that has scopes is bound to them.",
           "dicom.store"),
    Option("realms", _NAMES, "", "To users of these realms, issuers or directories.", "HOSPITAL.EXAMPLE"),
    Option("certificates", _CERTIFICATES, "", "To who comes with one of these certificates.",
           "dns:ct1.hospital.example"),
    Option("calling-ae-titles", values.list_of(values.AE_TITLE, "AE titles"), "", "To these calling AE titles.", "CT1"),
    Option("unidentified", values.YES_OR_NO, "no", "Also to who has presented no user identity."),
    Option("sees-modalities", values.list_of(values.MODALITY, "modalities"), "",
           "With query or retrieve: only instances with one of these modalities are seen.", "CT, MR"),
    Option("sees-institutions", _NAMES, "", "The same by Institution Name.", "General Hospital"),
    Option("sees-patient-id-issuers", _NAMES, "", "The same by Issuer of Patient ID.",
           "HOSPITAL"),
    Option("sees-referring-physicians", _NAMES, "",
           "The same by Referring Physician's Name; {user} is the name of the user who asks.", "{user}"),
    Option("sees-stored-by", values.list_of(values.AE_TITLE, "AE titles"), "",
           "The same by the calling AE title that stored the instance.", "CT1"),
    Option("sees-days", values.integer(0, 36500), "",
           "The same by Study Date: of today or up to so many days earlier.", "90"),
))

_THREADS = Option("threads", values.integer(1, 64), "4", "How many checks run at once.")
_WAITING = Option("waiting", values.integer(0, 10000), "64", "How many more checks may wait.")

USERS = SectionKind("users", values.NAME, "A users file, for which no server is needed; dimsetls user keeps it.", (
    Option("file", values.PATH, None, "The users file, readable by its owner alone.", "users"),
    Option("realm", values.WORD, "", "Where the users' names mean something, for rules and the log; without it the "
           "name of this section.", "hospital"),
    Option("threads", values.integer(1, 64), "2", "How many passcodes are checked at once; each takes 32 MiB."),
    _WAITING,
))

_WORDS = values.list_of(values.WORD, "words")

_CLAIMS = (
    Option("require-binding", values.YES_OR_NO, "no",
           "Whether every token must be bound to the certificate of the peer (RFC 8705); one that is must fit anyway."),
    Option("leeway", values.duration("0s", "5m"), "30s", "How far the clocks of issuer and node may be apart."),
    Option("subject-claim", values.WORD, "sub", "The claim with the user's name."),
    Option("group-claims", _WORDS, "", "Claims with the user's groups.", "groups"),
    Option("role-claims", _WORDS, "", "Claims with the user's roles.", "roles, extensions.ihe_iua.subject_role"),
    Option("scope-claims", _WORDS, "", "Claims with the scopes that the token is limited to.", "scope"),
)
_REQUEST_DEADLINE = Option("request-deadline", values.duration("100ms", "1m"), "5s",
                           "How long one request to the server may take in all.")

LDAP = SectionKind("ldap", values.NAME, "A directory with users and groups, asked over TLS alone.", (
    Option("servers", values.list_of(values.LDAP_URL, "LDAP URLs"), None,
           "Its servers, asked in this order: ldaps://HOST, or ldap://HOST for StartTLS.",
           "ldaps://ldap1.hospital.example, ldaps://ldap2.hospital.example"),
    Option("trust-roots", values.PATH, "",
           "The authorities that the servers' certificates come from, as PEM; without it those of the system.",
           "pki/hospital-ca.pem"),
    Option("search-base", values.WORD, "", "Below which entry users are searched for.",
           "ou=people,dc=hospital,dc=example"),
    Option("search-filter", values.WORD, "(uid={user})", "What finds a user below it."),
    Option("service-dn", values.WORD, "", "The account that searches.",
           "cn=dimsetls,ou=services,dc=hospital,dc=example"),
    Option("service-passcode", values.PASSPHRASE, "",
           "Where its passcode is: a file (chmod 600), or credential:NAME.", "credential:ldap"),
    Option("dn-template", values.WORD, "",
           "In place of search-base and the service account: the name of a user's entry.",
           "uid={user},ou=people,dc=hospital,dc=example"),
    Option("name-attribute", values.WORD, "uid", "The attribute that says who the user is, whatever was typed."),
    Option("group-base", values.WORD, "", "Below which entry groups count; without it there are none.",
           "ou=groups,dc=hospital,dc=example"),
    Option("group-attribute", values.WORD, "memberOf", "The attribute of a user's entry with the names of groups."),
    Option("group-filter", values.WORD, "", "What finds groups by {dn} or {user}, in addition.", "(member={dn})"),
    Option("required-group", values.WORD, "", "A group that every user must be in.", "radiology"),
    Option("realm", values.WORD, "", "Where the users' names mean something, for rules and the log; without it the "
           "name of this section.", "hospital"),
    Option("timeout", values.duration("100ms", "1m"), "3s", "How long one server may take."),
    Option("back-off", values.duration("1s", "1h"), "30s", "How long a server that failed is asked last."),
    _THREADS,
    _WAITING,
))

KERBEROS = SectionKind("kerberos", values.NAME, "A Kerberos service of ours, and the realms of its users.", (
    Option("keytab", values.PATH, None, "The file with the service's key; nobody else may read it.", "dicom.keytab"),
    Option("service", values.WORD, "",
           "The principal whose tickets are accepted; without it the only dicom/… of the keytab.",
           "dicom/pacs.hospital.example@HOSPITAL.EXAMPLE"),
    Option("realms", _NAMES, "", "The realms whose users are accepted; without it that of the service.",
           "HOSPITAL.EXAMPLE"),
    Option("strip-realms", _NAMES, "", "Users of these realms are called by their name alone.", "HOSPITAL.EXAMPLE"),
    Option("allow-service-principals", values.YES_OR_NO, "no", "Whether principals with a / in their name are users."),
    Option("channel-binding", values.choice({each.value: each for each in ChannelBinding}), "optional",
           "Whether a ticket must belong to this TLS connection (RFC 9266). A bare AP-REQ cannot."),
    Option("forms", values.list_of(values.choice({each.value: each for each in Form}), "ap-req, gss and spnego"), "",
           "What is accepted; without it all. ap-req alone needs no gssapi.", "gss, spnego"),
    Option("replay-cache", values.PATH, "",
           "The file that knows which tickets were used; without it as krb5.conf has it.", "replay-cache"),
    _THREADS,
    _WAITING,
))

SAML = SectionKind("saml", values.NAME, "An issuer of SAML 2.0 assertions.", (
    Option("issuer", values.WORD, None, "Its name, as its assertions have it.", "https://idp.hospital.example"),
    Option("certificates", values.list_of(values.PATH, "files"), None,
           "The certificates that it signs with, as PEM; two while it changes its key.", "pki/idp.pem"),
    Option("audience", _WORDS, None, "Names of this node, one of which every audience restriction must have.",
           "https://pacs.hospital.example"),
    Option("recipient", values.WORD, "", "What a Recipient must be, where an assertion names one.",
           "https://pacs.hospital.example"),
    Option("confirmation", values.list_of(values.choice({each.value: each for each in Confirmation}),
                                          "bearer and holder-of-key"), "bearer, holder-of-key",
           "How the subject may be confirmed; holder-of-key is bound to the certificate of the peer."),
    Option("use", values.choice({each.value: each for each in Use}), "once",
           "How often one assertion serves: once, once for each certificate of a peer, or as long as it is valid. One "
           "that asks for a single use serves once anyway."),
    Option("clock-skew", values.duration("0s", "10m"), "1m", "How far the clocks of issuer and node may be apart."),
    Option("maximum-lifetime", values.duration("1s", "168h"), "1h", "How long an assertion may be valid in all."),
    Option("name-attribute", values.WORD, "", "The attribute with the user's name; without it the NameID.", "uid"),
    Option("group-attributes", _WORDS, "groups", "Attributes with the user's groups."),
    Option("role-attributes", _WORDS, "urn:oasis:names:tc:xacml:2.0:subject:role",
           "Attributes with the user's roles."),
    Option("base64url", values.YES_OR_NO, "no", "Whether an assertion may come in base64url as well."),
    Option("response", values.choice({each.value: each for each in Answer}), "empty",
           "What a good assertion is answered with, if the peer asks: nothing, or an unsigned SAML response that says "
           "Success."),
))

JWT = SectionKind("jwt", values.NAME, "An issuer of JSON Web Tokens.", (
    Option("issuer", values.WORD, None, "The claim iss of its tokens, letter by letter.", "https://login.hospital.example"),
    Option("audience", _WORDS, None, "Names of this node, one of which must be in the claim aud.",
           "https://pacs.hospital.example"),
    Option("jwks-url", values.HTTPS_URL, "", "Where the issuer has its public keys.",
           "https://login.hospital.example/jwks"),
    Option("trust-roots", values.PATH, "", "With jwks-url: the authorities that its certificate comes from, as PEM.",
           "pki/hospital-ca.pem"),
    Option("jwks-file", values.PATH, "", "In place of jwks-url and trust-roots: a file with the keys.", "issuer.jwks"),
    Option("shared-secret", values.PASSPHRASE, "",
           "Where a secret for HS256 is, in base64: a file (chmod 600), or credential:NAME.", "credential:issuer"),
    Option("algorithms", _WORDS, "",
           "With which a token may be signed; without it the asymmetric ones, or HS256 alone with a shared-secret.",
           "ES256, PS256"),
    Option("types", _WORDS, "", "What typ may be; absent admits tokens without it. Without this option at+jwt alone.",
           "at+jwt"),
    Option("id-tokens", values.YES_OR_NO, "no", "Whether ID tokens count; they are meant for those who log users in."),
    Option("require-claims", _WORDS, "", "Claims that must be there besides iss, aud, exp and the subject.",
           "iat, jti"),
    *_CLAIMS,
    Option("keys-fresh", values.duration("10s", "24h"), "5m", "How old keys may be before they are asked for again."),
    Option("keys-stale", values.duration("10s", "168h"), "1h", "How long keys serve if the issuer does not answer."),
    _REQUEST_DEADLINE,
))

INTROSPECTION = SectionKind("introspection", values.NAME,
                            "A server that tells what an opaque access token is worth (RFC 7662).", (
    Option("url", values.HTTPS_URL, None, "Its introspection endpoint.", "https://login.hospital.example/introspect"),
    Option("trust-roots", values.PATH, None, "The authorities that its certificate comes from, as PEM.",
           "pki/hospital-ca.pem"),
    Option("issuer", values.WORD, None, "The server's name, and the realm of its users.",
           "https://login.hospital.example"),
    Option("audience", _WORDS, None, "Names of this node, one of which must be in aud of the answer.",
           "https://pacs.hospital.example"),
    Option("client-id", values.WORD, None, "Who this node is to the server.", "dimsetls"),
    Option("client-secret", values.PASSPHRASE, "", "Where our secret is: a file (chmod 600), or credential:NAME.",
           "credential:introspection"),
    Option("certificate", values.PATH, "",
           "Our certificate for the server, as PEM; in place of the secret or beside it.",
           "pki/client.pem"),
    Option("private-key", values.PATH, "", "The key of the certificate, as PEM (chmod 600).", "pki/client.key"),
    Option("private-key-passphrase", values.PASSPHRASE, "", "Where the passphrase of an encrypted key is.",
           "credential:client-key"),
    Option("require-claims", _WORDS, "", "Members that the answer must have besides active, aud and the subject.",
           "exp"),
    *_CLAIMS,
    Option("remember", values.duration("0s", "5m"), "30s",
           "How long a good answer serves again, never beyond the token's term."),
    Option("requests", values.integer(1, 1000), "16", "How many requests run at once."),
    _REQUEST_DEADLINE,
))

CERTIFICATE_IDENTITY = SectionKind("certificate-identity", values.NAME,
                                   "Users that are known by the certificate of their connection alone.", (
    Option("certificates", _CERTIFICATES, None, "Whose certificates are meant; any of the conditions.",
           "issuer:CN=Hospital CA"),
    Option("name-from", choices.NAME_SOURCE, None, "Where in the certificate the user's name stands.", "subject:CN"),
    Option("groups", _NAMES, "", "Groups that each of these users is in.", "modalities"),
    Option("roles", _NAMES, "", "Roles that each of these users has.", "modality"),
    Option("realm", values.WORD, "",
           "Where the name means something; without it this is the issuer of the certificate.", "hospital"),
))

BACK_ENDS: tuple[SectionKind, ...] = (USERS, LDAP, KERBEROS, SAML, JWT, INTROSPECTION, CERTIFICATE_IDENTITY)
