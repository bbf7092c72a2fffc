"""The consumer, with e-mails: each trigger becomes one, by any SMTP server.

    python mailer.py --smtp localhost:25 --sender shop@example.org --addresses addresses.csv

SMTP has no transactions: killed between the server's "250 OK" and the note of it, an e-mail goes out once more. It then
has the same Message-ID, by which servers and mailboxes tell a copy. That is as close to once as e-mail gets.
"""

import csv
import smtplib
import sqlite3
from email.message import EmailMessage
from pathlib import Path

from consumer import Handle, NotNow, Refused, Trigger, parser, run

TEMPLATES = {
    "come-back": ("We have not seen you for a while", "Have a look at what is new: https://shop.example/new"),
    "we-miss-you": ("We miss you", "Your basket is still here: https://shop.example/basket"),
}


def mailer(smtp: str, sender: str, addresses: Path) -> Handle:
    """Sends to the address that a CSV file (user,email) has for the user. Yours will ask your own user database."""
    host, _, port = smtp.rpartition(":")
    with addresses.open() as file:
        known = dict(csv.reader(file))

    def send(trigger: Trigger, _: sqlite3.Connection) -> None:
        address = known.get(trigger["subject"])
        template = TEMPLATES.get(trigger["data"]["template_id"])
        if address is None or template is None:
            raise Refused("no address" if address is None else "no such template")
        mail = EmailMessage()
        mail["Message-ID"] = f"<{trigger['id']}@{sender.rpartition('@')[2]}>"
        mail["From"], mail["To"], mail["Subject"] = sender, address, template[0]
        mail.set_content(template[1])
        try:
            with smtplib.SMTP(host, int(port), timeout=15) as server:
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code, words = next(iter(error.recipients.values()))
            raise (Refused if code >= 500 else NotNow)(f"{code} {words.decode(errors='replace')}") from error
        except smtplib.SMTPResponseException as error:
            raise (Refused if error.smtp_code >= 500 else NotNow)(f"{error.smtp_code}") from error
        except OSError as error:
            raise NotNow(f"{smtp}: {error}") from error

    return send


if __name__ == "__main__":
    options = parser("Send Rekindle's triggers as e-mails.")
    options.add_argument("--smtp", default="localhost:25", metavar="HOST:PORT")
    options.add_argument("--sender", required=True)
    options.add_argument("--addresses", required=True, type=Path, help="CSV: user,email")
    given = options.parse_args()
    run(given, mailer(given.smtp, given.sender, given.addresses))
