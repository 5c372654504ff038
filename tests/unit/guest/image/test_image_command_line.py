"""The kernel's command line: what an image takes, and everything that it refuses."""

from __future__ import annotations

import pytest

from twocvm_guest.image.command_line import (
    FIXED,
    CommandLineError,
    Payload,
    Variant,
    command_line,
    make_network,
    parse_command_line,
)

HERE = make_network("10.0.2.15/24", "10.0.2.2", "8443")
BROUGHT = Payload(root=bytes(range(32)), blocks=70_000)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("end", ["", "\n", " initrd=initrd", " initrd=initrd\n"])
@pytest.mark.parametrize("payload", [None, BROUGHT])
def test_what_is_written_is_read(variant: Variant, payload: Payload | None, end: str) -> None:
    """A command line is read back, with a payload and without, and with what direct boot through firmware adds."""
    launch = parse_command_line(command_line(variant, HERE, payload) + end, variant)
    assert (launch.network, launch.payload) == (HERE, payload)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line + " debug",
        lambda line: line + " initrd=other",
        lambda line: "debug " + line,
        lambda line: line.replace("init_on_free=1", "init_on_free=0"),
        lambda line: line.replace("ia32_emulation=off ", ""),
        lambda line: line.replace(" twocvm.gateway", " init=/bin/sh twocvm.gateway"),
        lambda line: line.replace("10.0.2.15/24", "10.0.2.15"),
        lambda line: line.replace("10.0.2.15/24", "10.0.2.300/24"),
        lambda line: line.replace("10.0.2.2 ", "10.0.3.2 "),
        lambda line: line.replace("10.0.2.2 ", "10.0.2.15 "),
        lambda line: line.replace("port=8443", "port=08443"),
        lambda line: line.replace("port=8443", "port=0"),
        lambda line: line.replace("port=8443", "port=65536"),
        lambda line: line.replace("port=8443", "port=\u0664"),
        lambda line: line.replace("twocvm.port", "twocvm.door"),
        lambda line: line.replace(" twocvm.address=10.0.2.15/24", ""),
        lambda line: "",
        lambda line: f"{line} twocvm.payload=",
        lambda line: f"{line} twocvm.payload={'0' * 64}",
        lambda line: f"{line} twocvm.payload={'0' * 64}:0",
        lambda line: f"{line} twocvm.payload={'0' * 64}:07",
        lambda line: f"{line} twocvm.payload={'A' * 64}:7",
        lambda line: f"{line} twocvm.payload={'0' * 62}:7",
        lambda line: f"{line} twocvm.payload={'0' * 64}:7 debug",
        lambda line: f"{line} twocvm.payload={'0' * 64}:7 twocvm.payload={'0' * 64}:7",
        lambda line: line.replace(" twocvm.gateway", f" twocvm.payload={'0' * 64}:7 twocvm.gateway"),
    ],
)
def test_any_other_word_is_refused(change: object) -> None:
    """Nothing may be added, taken away or spelt differently."""
    assert callable(change)
    with pytest.raises(CommandLineError):
        parse_command_line(change(command_line(Variant.PRODUCTION, HERE)), Variant.PRODUCTION)


def test_variants_do_not_take_each_others() -> None:
    """The production image refuses the line with a console, and the other way round."""
    for one, other in ((Variant.PRODUCTION, Variant.DEVELOPMENT), (Variant.DEVELOPMENT, Variant.PRODUCTION)):
        with pytest.raises(CommandLineError):
            parse_command_line(command_line(one, HERE), other)


def test_production_has_no_console_and_both_are_hardened() -> None:
    """No serial line, nothing that is printed; freed memory cleared, 32-bit programs off, modules signed, in both."""
    words = {variant: set(FIXED[variant].split()) for variant in Variant}
    assert {"console=", "8250.nr_uarts=1", "quiet", "loglevel=0"} <= words[Variant.PRODUCTION]
    for each in words.values():
        assert {"init_on_free=1", "ia32_emulation=off", "module.sig_enforce=1", "panic=-1", "nohibernate"} <= each
