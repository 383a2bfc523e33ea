"""Hypothesis strategies that several tests share."""

from hypothesis import strategies as st

from pinfold.ipld import CID

_digests = st.binary(min_size=32, max_size=32)

cids = st.one_of(
    st.builds(CID.raw, _digests),
    st.builds(CID.dag_pb, _digests),
    st.builds(lambda digest: CID(0, 0x70, 0x12, digest), _digests),
    st.builds(lambda codec, digest: CID(1, codec, 0, digest), st.integers(0, 1 << 62), st.binary(max_size=128)),
)
