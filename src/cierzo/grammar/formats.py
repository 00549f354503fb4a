"""The formats that are held to, each as a pattern of the whole string.

Where RFCs and the usual checkers disagree, the pattern is what all of them accept. A format that is
not here is an annotation, as JSON Schema says.
"""

from __future__ import annotations

from collections.abc import Mapping

_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|0[48]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3])"
_TIME = f"{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?(?:[zZ]|[+-]{_HOUR}:[0-5][0-9])"
_NUMBERS = "[0-9]+"
_CLOCK = f"T(?:{_NUMBERS}H(?:{_NUMBERS}M)?(?:{_NUMBERS}S)?|{_NUMBERS}M(?:{_NUMBERS}S)?|{_NUMBERS}S)"
_CALENDAR = (
    f"(?:{_NUMBERS}Y(?:{_NUMBERS}M(?:{_NUMBERS}D)?)?|{_NUMBERS}M(?:{_NUMBERS}D)?|{_NUMBERS}D)"
)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = f"{_LABEL}(?:\\.{_LABEL})*"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = f"{_BYTE}(?:\\.{_BYTE}){{3}}"
_HEX = "[0-9A-Fa-f]{1,4}"


def _ipv6() -> str:
    """Eight groups, or `::` in place of one group or more."""
    forms = [f"{_HEX}(?::{_HEX}){{7}}"]
    for before in range(8):
        left = "" if before == 0 else f"{_HEX}(?::{_HEX}){{{before - 1}}}"
        most = 7 - before
        right = "" if most == 0 else f"(?:{_HEX}(?::{_HEX}){{0,{most - 1}}})?"
        forms.append(f"{left}::{right}")
    return f"(?:{'|'.join(forms)})"


_ESCAPED = "%[0-9A-Fa-f]{2}"
_SAFE = "A-Za-z0-9\\-._~!$&'()*+,;="
_WIDE = "\\u00A0-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFEF"


def _uri(more: str, *, relative: bool) -> str:
    char = f"(?:[{_SAFE}:@{more}]|{_ESCAPED})"
    query = f"(?:\\?(?:[{_SAFE}:@/?{more}]|{_ESCAPED})*)?(?:#(?:[{_SAFE}:@/?{more}]|{_ESCAPED})*)?"
    host = f"(?:\\[{_ipv6()}\\]|(?:[{_SAFE}{more}]|{_ESCAPED})*)"
    authority = f"//(?:(?:[{_SAFE}:{more}]|{_ESCAPED})*@)?{host}(?::[0-9]*)?(?:/{char}*)*"
    absolute = f"/(?:{char}+(?:/{char}*)*)?"
    rootless = f"{char}+(?:/{char}*)*"
    whole = f"[A-Za-z][A-Za-z0-9+\\-.]*:(?:{authority}|{absolute}|{rootless}|)"
    if not relative:
        return whole + query
    no_colon = f"(?:[{_SAFE}@{more}]|{_ESCAPED})+(?:/{char}*)*"
    return f"(?:{whole}|{authority}|{absolute}|{no_colon}|){query}"


_POINTER = "(?:/(?:[^~/]|~[01])*)*"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_VARIABLE = "(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*"
_VARIABLES = f"{_VARIABLE}(?:\\*|:[1-9][0-9]{{0,3}})?"

_WHOLE: Mapping[str, str] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[tT]{_TIME}",
    "duration": f"P(?:{_CALENDAR}(?:{_CLOCK})?|{_CLOCK}|{_NUMBERS}W)",
    "email": f"{_ATOM}(?:\\.{_ATOM})*@(?:{_HOST}|\\[{_IPV4}\\])",
    "idn-email": f'[^\\s@"]+@{_HOST}',
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": _ipv6(),
    "uuid": "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "uri": _uri("", relative=False),
    "uri-reference": _uri("", relative=True),
    "iri": _uri(_WIDE, relative=False),
    "iri-reference": _uri(_WIDE, relative=True),
    "uri-template": (
        f"(?:[A-Za-z0-9\\-._~!$&()*+,;=:/?#@\\[\\]]|{_ESCAPED}"
        f"|\\{{[+#./;?&]?{_VARIABLES}(?:,{_VARIABLES})*\\}})*"
    ),
    "json-pointer": _POINTER,
    "json-pointer-uri-fragment": f"#(?:/(?:[{_SAFE}:@]|~[01]|{_ESCAPED})*)*",
    "relative-json-pointer": f"(?:0|[1-9][0-9]*)(?:#|{_POINTER})",
}

PATTERNS: Mapping[str, str] = {name: f"^(?:{whole})$" for name, whole in _WHOLE.items()}

# Held to by a check alone: no pattern says what a regular expression is.
CHECKED = frozenset({"regex"})
