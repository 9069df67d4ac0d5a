"""What a channel of an overlay is, and what it is called."""

from __future__ import annotations

from enum import StrEnum


class ChannelRole(StrEnum):
    """Where the values of a channel come from."""

    MEASURED = "measured"
    RECONSTRUCTED = "reconstructed"
    RECONSTRUCTED_SHARED = "reconstructed_shared"
    PREDICTED = "predicted"
    UNCERTAINTY = "uncertainty"


_SUFFIX = {
    ChannelRole.MEASURED: "",
    ChannelRole.RECONSTRUCTED: " (reconstructed)",
    ChannelRole.RECONSTRUCTED_SHARED: " (reconstructed, shared part)",
    ChannelRole.PREDICTED: " (predicted from {anchor})",
    ChannelRole.UNCERTAINTY: " (uncertainty)",
}


def channel_name(stain: str, role: ChannelRole | str, anchor: str = "DAPI") -> str:
    """Name people see for a channel; only a measured channel bears the bare name of its stain.

    Parameters
    ----------
    stain
        Canonical stain name.
    role
        Where the values come from.
    anchor
        Stain that a predicted channel was predicted from.

    Examples
    --------
    >>> channel_name("CD3", "predicted")
    'CD3 (predicted from DAPI)'
    """
    return stain + _SUFFIX[ChannelRole(role)].format(anchor=anchor)
