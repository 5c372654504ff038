"""The participant's commands: keys, consents, and one's own side of a session.

Each command is one thin function: it reads files, calls the library, prints. Imports that cost time are made inside.
"""

from __future__ import annotations

from twocvm_verifier.shell import command_group

from . import guests, keys, proxy, receipts, session

app = command_group()
identity_app = command_group("A participant's keys.")
manifest_sign_app = command_group("Consents.")
receipt_app = command_group("Receipts.")

identity_app.command("new")(keys.new)
identity_app.command("show")(keys.show)
manifest_sign_app.command("sign")(keys.sign)
receipt_app.command("verify")(receipts.verify)

app.add_typer(identity_app, name="identity")
app.add_typer(manifest_sign_app, name="manifest")
app.add_typer(receipt_app, name="receipt")
for _command in (
    guests.lock,
    guests.verify,
    guests.status,
    session.join,
    session.release,
    session.output,
    session.withdraw,
    proxy.proxy,
):
    app.command(_command.__name__)(_command)
