"""A mail server of the tests' own: takes what it is given on 127.0.0.1, and can be told to refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """What came in, and how to answer."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: list[EmailMessage] = []
        self.lines: list[str] = []
        self._came = asyncio.Condition()
        self.answers: dict[str, str] = {}  # command → the answer instead of 250

    async def arrives(self, count: int = 1) -> EmailMessage:
        """The mail that makes so many."""
        async with asyncio.timeout(15):
            async with self._came:
                await self._came.wait_for(lambda: len(self.taken) >= count)
        return self.taken[count - 1]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 tests\r\n")
        while line := (await reader.readline()).decode():
            self.lines.append(line.strip())
            command = line[:4].strip().upper()
            if command == "DATA" and command not in self.answers:
                writer.write(b"354 go on\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                self.taken.append(message_from_bytes(data[:-5], policy=policy.default))
                writer.write(b"250 taken\r\n")
                async with self._came:
                    self._came.notify_all()
            else:  # also to QUIT, where 221 would be right: servers are like that
                writer.write(self.answers.get(command, "250 ok").encode() + b"\r\n")
            if command == "QUIT":
                break
        writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    taking = MailServer()
    server = await asyncio.start_server(taking.talk, "127.0.0.1", 0)
    taking.port = server.sockets[0].getsockname()[1]
    async with server:
        yield taking
