"""The short way to write a response gives the bytes of the long one."""

from hypothesis import given
from hypothesis import strategies as st

from dimsetls.dimse.command import write_command
from dimsetls.dimse.messages import CEchoRQ, CStoreRQ
from dimsetls.dimse.plain import write_plain_response

UIDS = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,8})){1,5}", fullmatch=True)
NUMBERS = st.integers(0, 0xFFFF)
REQUESTS = st.builds(CEchoRQ, NUMBERS, UIDS) | st.builds(CStoreRQ, NUMBERS, UIDS, UIDS)


@given(REQUESTS, NUMBERS)
def test_a_plain_response_is_what_the_message_would_be(request, status):
    assert write_plain_response(request, status) == write_command(request.RESPONSE.to(request, status).command())
