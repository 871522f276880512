"""Captures: every form of file is read, each connection told as it was, and a damaged file never breaks anything."""

import io
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from forklab.capture import CLIENT as C
from forklab.capture import SERVER as S
from forklab.capture import Connection, Reading, choose, connections, ladder, pcapng, read
from forklab.capture.frames import CaptureError, File, Frame, Records, frames
from forklab.capture.newfile import check_new, new_file, write_new
from forklab.capture.picture import svg
from forklab.errors import UsageError
from tests.unit import packets
from tests.unit.packets import CLIENT, COOKED, COOKED2, ETHERNET, LOOP, NULL, RAW, SERVER, Packet, Talk, pcap, tcp


def reading(data: bytes) -> Reading:
    """A file of these bytes, read."""
    about = File()
    return connections.collect(frames(io.BytesIO(data), about), about)


def told(talk: Talk) -> Connection:
    """The one connection of a conversation."""
    (only,) = reading(pcap(talk.packets, nano=True)).connections
    return only


def notes(connection: Connection) -> list[tuple[str, ...]]:
    """What is said of each segment."""
    return [step.notes for step in connection.steps]


def polite() -> Talk:
    """The client says five bytes and half-closes, the server answers five and closes."""
    talk = Talk().shake()
    talk.client("PA", 1, 1, data=b"hello")
    talk.client("FA", 6, 1)
    talk.server("PA", 1, 7, data=b"hello")
    talk.client("A", 7, 6)
    talk.server("FA", 6, 7)
    talk.client("A", 7, 7)
    return talk


@pytest.mark.parametrize("link", [ETHERNET, RAW, COOKED, COOKED2, NULL, LOOP])
@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_classic_files_are_read(order: str, nano: bool, link: int) -> None:
    """Both byte orders, micro- and nanoseconds, every link layer: the same connection."""
    (made,) = reading(pcap(polite().packets, order=order, nano=nano, link=link)).connections
    assert (made.client, made.server) == ("10.0.0.3:40000", "10.0.0.2:9190")
    assert made.bytes == {C: 5, S: 5}
    assert made.start == polite().packets[0][0]
    assert made.seconds == pytest.approx(0.008)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("options", "ticks"),
    [
        (b"", 10**6),
        (b"\t\x01", 10**9),
        (b"\n\x01", 2**10),
    ],
)
def test_pcapng_files_are_read(order: str, options: bytes, ticks: int) -> None:
    """Both byte orders, three units of time, unknown blocks between: the same connection."""
    told_option = b""
    if options:
        value = 9 if options[0] == 9 else 0x80 | 10
        told_option = struct.pack(f"{order}HHBxxxHH", 9, 1, value, 0, 0)
    data = packets.section(order, options=told_option) + packets.block(order, 0x0BAD, b"what is this")
    for at, packet in polite().packets:
        data += packets.enhanced(order, at * ticks // 10**9, packet)
    found = reading(data)
    (made,) = found.connections
    assert (found.file.kind, found.file.cut) == ("pcapng", None)
    assert made.bytes == {C: 5, S: 5}
    assert made.start == pytest.approx(polite().packets[0][0], abs=10**9 / ticks)


def test_pcapng_sections_of_different_byte_order_and_old_packets() -> None:
    """A file of two sections, joined from two computers, and the simple and the obsolete packet block."""
    first, second, *_ = polite().packets
    simple = packets.block("<", 3, struct.pack("<I", len(first[1])) + first[1])
    old = packets.block(">", 2, struct.pack(">HHIIII", 0, 0, 0, 0, len(second[1]), len(second[1])) + second[1])
    found = reading(packets.section("<") + simple + packets.section(">") + old)
    assert [step.flags for step in found.connections[0].steps] == ["SYN", "SYN,ACK"]


def test_what_we_write_is_what_we_read() -> None:
    """Link type, times to the nanosecond, bytes, and the packets that the kernel dropped."""
    data = pcapng.section("Linux", "test", "a word") + pcapng.interface(RAW, 65535, "any", "Linux", "tcp")
    data += b"".join(pcapng.packet(Frame(at, RAW, packet, len(packet))) for at, packet in polite().packets)
    data += pcapng.statistics(1, 2, 9, 3)
    about = File()
    assert [(frame.time, frame.data) for frame in frames(io.BytesIO(data), about)] == polite().packets
    assert (about.cut, about.dropped) == (None, 3)


def test_a_live_stream_may_come_in_any_pieces() -> None:
    """Byte by byte, the same packets come out, each as soon as it is whole."""
    data = pcap(polite().packets, nano=True)
    records = Records()
    found = [frame for at in range(len(data)) for frame in records.feed(data[at : at + 1])]
    assert [(frame.time, frame.data) for frame in found] == polite().packets
    assert records.end() is None


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_cut_file_gives_what_is_whole_and_says_so(kind: str) -> None:
    """Cut anywhere behind its header, it tells of the packets before the cut, and that the rest is missing."""
    if kind == "pcap":
        whole = pcap(polite().packets)
        head, size = 24, len(whole)
    else:
        start = packets.section("<")
        whole = start + b"".join(packets.enhanced("<", at // 1000, packet) for at, packet in polite().packets)
        head, size = len(start), len(whole)
    for length in range(head + 1, size):
        found = reading(whole[:length])
        assert found.frames < len(polite().packets)
        assert found.file.cut is None or "in the middle of" in found.file.cut
    assert reading(whole[: size - 1]).file.cut
    assert reading(whole).file.cut is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"hello world", "is no capture: it begins with 68 65 6c 6c"),
        (b"\xd4", "is no capture"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    """One line that names the file and what is wrong with it."""
    file = tmp_path / "x.pcap"
    file.write_bytes(data)
    with pytest.raises(CaptureError, match=words) as caught:
        read(file)
    assert str(file) in str(caught.value)
    with pytest.raises(CaptureError, match="cannot be read"):
        read(tmp_path / "absent")
    with pytest.raises(CaptureError, match="cannot be read"):
        read(tmp_path)


def test_damage_is_told_and_ends_the_reading() -> None:
    """A packet longer than any, a block with two lengths, an interface nobody described."""
    good = pcap(polite().packets)
    assert "4294967295 bytes" in str(reading(good + struct.pack("<IIII", 0, 0, 2**32 - 1, 0)).file.cut)
    start = packets.section("<")
    wrong = packets.block("<", 6, b"\0" * 20)
    assert "two lengths" in str(reading(start + wrong[:-4] + struct.pack("<I", 8)).file.cut)
    alien = packets.block("<", 6, struct.pack("<IIIII", 7, 0, 0, 0, 0))
    assert "interface 7" in str(reading(start + alien).file.cut)


def test_other_packets_are_left_out() -> None:
    """ARP, UDP, a later fragment, an unknown link layer: no segment, and the last one is told."""
    fragment = bytearray(polite().packets[0][1])
    fragment[7] = 9
    udp = bytearray(polite().packets[0][1])
    udp[9] = 17
    found = reading(pcap([(0, bytes(fragment)), (0, bytes(udp))]))
    assert (found.frames, found.segments) == (2, 0)
    arp = b"\2" * 12 + b"\x08\x06" + b"\0" * 28
    assert not list(reading(pcap([], link=ETHERNET) + struct.pack("<IIII", 0, 0, len(arp), len(arp)) + arp).connections)
    unknown = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 127) + struct.pack("<IIII", 0, 0, 1, 1) + b"x"
    assert reading(unknown).unread == {127: 1}
    assert "link type 127" in ladder.remarks(reading(unknown))[0]


def test_ipv6_vlan_and_padding() -> None:
    """An IPv6 packet with an extension header, a tagged frame, and Ethernet's padding, which is no data."""
    six = ("fd00::3", 40000), ("fd00::2", 9190)
    plain = tcp(*six, "PA", seq=1, data=b"six")
    options = plain[:4] + struct.pack("!HBB", len(plain) - 40 + 8, 60, 64) + plain[8:40]
    extended = options + bytes([6, 0, 0, 0, 0, 0, 0, 0]) + plain[40:]
    (made,) = reading(pcap([(0, extended)])).connections
    assert (made.client, made.bytes[C]) == ("[fd00::3]:40000", 3)
    tagged = b"\2" * 12 + b"\x81\x00\x00\x05\x08\x00" + tcp(CLIENT, SERVER, "A", seq=1) + b"\0" * 6
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    (made,) = reading(data + struct.pack("<IIII", 0, 0, len(tagged), len(tagged)) + tagged).connections
    assert made.bytes == {C: 0, S: 0}


def test_a_short_snapshot_still_counts_the_whole_payload() -> None:
    """The length is the packet's own word, not how much of it was kept (tcpdump -s)."""
    packet = tcp(CLIENT, SERVER, "PA", seq=1, data=b"x" * 1000)[:54]
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 54, RAW) + struct.pack("<IIII", 0, 0, 54, 1040) + packet
    assert reading(data).connections[0].bytes[C] == 1000


def test_an_orderly_end() -> None:
    """Who closed first, that it was a half-close, what came after it, relative numbers from 0."""
    made = told(polite())
    assert (made.end, made.closed_first, made.reset_by) == ("closed", C, None)
    assert [(closing.by, closing.how) for closing in made.closing] == [(C, "FIN"), (S, "FIN")]
    assert made.after_fin(C) == 5
    assert made.after_fin(S) == 0
    assert [(step.seq, step.ack) for step in made.steps][:4] == [(0, None), (0, 1), (1, 1), (1, 1)]
    assert made.steps[4].notes == ("closes first", "half-close")
    assert made.steps[7].notes == ("closes",)


def test_a_full_close_is_no_half_close() -> None:
    """Nothing comes back after the first FIN but the other FIN."""
    talk = Talk().shake()
    talk.server("FA", 1, 1)
    talk.client("FA", 1, 2)
    talk.server("A", 2, 2)
    made = told(talk)
    assert (made.end, made.closed_first) == ("closed", S)
    assert notes(made)[3:] == [("closes first",), ("closes",), ()]


def test_a_reset_is_told_apart_from_a_fin() -> None:
    """In the middle it ends the connection; after both FINs have been acknowledged it does not any more."""
    talk = Talk().shake()
    talk.server("RA", 1, 1)
    made = told(talk)
    assert (made.end, made.reset_by, made.closed_first) == ("reset", S, S)
    assert made.steps[-1].notes == ("resets",)
    talk = polite()
    talk.client("R", 7)
    made = told(talk)
    assert (made.end, made.reset_by, made.closed_first) == ("closed", None, C)


def test_a_close_with_data_on_the_way_is_a_reset_and_no_half_close() -> None:
    """A client that has closed both directions answers data with RST."""
    talk = Talk().shake()
    talk.client("FA", 1, 1)
    talk.server("PA", 1, 2, data=b"late")
    talk.client("R", 2)
    made = told(talk)
    assert (made.end, made.reset_by, made.closed_first) == ("reset", C, C)
    assert made.steps[3].notes == ("closes first",)


def test_refused_and_unanswered() -> None:
    """RST as the answer to SYN is a refusal; no answer is none, however often it is asked."""
    talk = Talk()
    talk.client("S", 0)
    talk.server("RA", 0, 1)
    made = told(talk)
    assert (made.end, made.reset_by, made.steps[-1].notes) == ("refused", S, ("refuses",))
    talk = Talk()
    talk.client("S", 0)
    talk.client("S", 0, after=10**9)
    made = told(talk)
    assert (made.end, notes(made)) == ("unanswered", [(), ("retransmission",)])


def test_ends_that_are_none() -> None:
    """Open and half-closed when the capture ends; half-open when one side asks again and again."""
    talk = Talk().shake()
    assert told(talk).end == "open"
    talk.client("FA", 1, 1)
    assert told(talk).end == "half-closed"
    for wait in (2, 4, 8):
        talk.client("FA", 1, 1, after=wait * 10**8)
    made = told(talk)
    assert (made.end, made.silent) == ("half-open", S)
    assert notes(made)[4:] == [("retransmission",)] * 3
    assert any("half-open" in sentence for sentence in ladder.story(made))


def test_sent_again_counts_once() -> None:
    """A retransmission, with another IP identification, is told and adds no bytes; half of it new adds the half."""
    talk = Talk().shake()
    talk.client("PA", 1, 1, data=b"12345")
    talk.client("PA", 1, 1, data=b"12345", after=2 * 10**8)
    talk.client("PA", 4, 1, data=b"4567", after=2 * 10**8)
    made = told(talk)
    assert made.bytes[C] == 7
    assert notes(made)[4] == ("retransmission",)
    assert made.sent[C].notes["retransmission"] == 2


def test_the_same_packet_twice_is_a_duplicate() -> None:
    """With the same identification it was captured twice or doubled on the way: no second FIN, no bytes."""
    talk = Talk().shake()
    talk.client("PA", 1, 1, data=b"12345", ip_id=77)
    talk.client("PA", 1, 1, data=b"12345", ip_id=77, after=10_000)
    talk.client("FA", 6, 1, ip_id=78)
    talk.client("FA", 6, 1, ip_id=78, after=10_000)
    made = told(talk)
    assert notes(made)[3:] == [(), ("duplicate",), ("closes first",), ("duplicate",)]
    assert made.bytes[C] == 5


def test_out_of_order_and_lost() -> None:
    """What fills a gap at once was overtaken; what fills it late was sent again; what never comes is missing."""
    talk = Talk().shake()
    talk.client("A", 6, 1, data=b"67890")
    talk.client("A", 1, 1, data=b"12345", after=10_000)
    talk.client("A", 16, 1, data=b"67890")
    talk.client("A", 11, 1, data=b"12345", after=3 * 10**8)
    talk.client("A", 31, 1, data=b"end")
    made = told(talk)
    assert notes(made)[3:] == [
        ("gap before",),
        ("out of order",),
        ("gap before",),
        ("retransmission",),
        ("gap before",),
    ]
    assert (made.bytes[C], made.sent[C].missing) == (23, 10)
    assert any("10 bytes are not in the capture" in sentence for sentence in ladder.story(made))


def test_windows_and_keep_alives() -> None:
    """Zero window, probe, window open again; a keep-alive is a probe where the window is open."""
    talk = Talk().shake()
    talk.client("PA", 1, 1, data=b"12345")
    talk.server("A", 1, 6, window=0)
    talk.client("A", 5, 1)
    talk.server("A", 1, 6, window=0)
    talk.server("A", 1, 6, window=500)
    talk.client("A", 5, 1)
    assert notes(told(talk))[4:] == [
        ("zero window",),
        ("window probe",),
        ("zero window",),
        ("window opens",),
        ("keep-alive",),
    ]


def test_sequence_numbers_wrap() -> None:
    """Across 2^32, relative numbers go on, and nothing is taken for sent again."""
    talk = Talk(client=2**32 - 3, server=2**32 - 1).shake()
    for at in range(5):
        talk.client("PA", 1 + 4 * at, 1, data=b"four")
    made = told(talk)
    assert [step.seq for step in made.steps[3:]] == [1, 5, 9, 13, 17]
    assert notes(made) == [()] * 8
    assert made.bytes[C] == 20


def test_a_port_used_again_is_another_connection() -> None:
    """The same addresses and ports: a SYN with another number begins anew, after an end or a crash; a repeated not."""
    first, second, third = polite(), Talk(start=1_800_000_000_000_000_000, client=9, server=77).shake(), polite()
    (at, repeated) = first.packets[0]
    found = reading(
        pcap([first.packets[0], (at + 10**6, repeated), *first.packets[1:], *second.packets, *third.packets])
    )
    assert [each.end for each in found.connections] == ["closed", "open", "closed"]
    assert [each.reused for each in found.connections] == [False, True, True]
    assert [each.bytes[C] for each in found.connections] == [5, 0, 5]


def test_a_capture_that_begins_in_the_middle() -> None:
    """The server is whoever has the lab's port, and the story says that this is concluded."""
    talk = polite()
    made = reading(pcap(talk.packets[4:])).connections[0]
    assert (made.client, made.complete, made.bytes[S]) == ("10.0.0.3:40000", False, 5)
    assert "in the middle" in " ".join(ladder.story(made))


def test_interleaved_connections_are_kept_apart() -> None:
    """In order of their first segment, each with its own bytes."""
    other = ("10.0.0.4", 40000)
    mine = polite().packets
    theirs = [(at, packet.replace(b"\x0a\x00\x00\x03", b"\x0a\x00\x00\x04")) for at, packet in mine]
    found = reading(pcap([packet for pair in zip(mine, theirs, strict=True) for packet in pair]))
    assert [each.client for each in found.connections] == ["10.0.0.3:40000", f"{other[0]}:{other[1]}"]
    assert [each.bytes for each in found.connections] == [{C: 5, S: 5}] * 2


def test_a_connection_is_chosen_by_its_number() -> None:
    """The only one without a word; a number that is none is refused with what there is."""
    one = reading(pcap(polite().packets))
    assert choose(one, "") is one.connections[0]
    assert choose(one, "1") is one.connections[0]
    for wrong in ("0", "2", "x", "-1", "9" * 30):
        with pytest.raises(UsageError, match="there are 1"):
            choose(one, wrong)
    assert choose(reading(pcap([])), "") is None


def drawn(made: Connection, found: Reading, *, colour: bool = False) -> list[str]:
    """The ladder as a terminal or a pipe gets it."""
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=colour, color_system="standard" if colour else None)
    console.print(ladder.Ladder(made, found))
    return out.getvalue().splitlines()


def test_the_ladder_fits_80_columns_and_is_plain_in_a_pipe() -> None:
    """Arrows point to who receives; the largest numbers fit; ASCII only; colours only in a terminal."""
    found = reading(pcap(polite().packets))
    lines = drawn(found.connections[0], found)
    assert lines[3].startswith("0.000000 |-- SYN seq=0 --")
    assert lines[3].endswith("->|")
    assert "|<-" in lines[4]
    assert lines[4].endswith("SYN,ACK seq=0 ack=1 --|")
    assert any(line.endswith("| half-close") for line in lines)
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)
    assert any("\x1b[" in line for line in drawn(found.connections[0], found, colour=True))
    six = ("fd00:1111:2222:3333:4444:5555:6666:7777", 40000), ("fd00:1111:2222:3333:4444:5555:6666:8888", 9190)
    huge = [(0, tcp(*six, "S")), (10**12, tcp(*six, "FPA", seq=2**31 - 10, ack=1, data=b"x" * 60000))]
    found = reading(pcap(huge, nano=True))
    assert max(map(len, drawn(found.connections[0], found))) <= 80


def test_a_long_transfer_is_folded() -> None:
    """Segments with nothing to say about become one line that counts them; those of note stay."""
    talk = Talk().shake()
    for at in range(1000):
        talk.client("PA", 1 + 10 * at, 1, data=b"0123456789")
    talk.client("FA", 10001, 1)
    found = reading(pcap(talk.packets))
    lines = drawn(found.connections[0], found)
    assert len(lines) < 30
    (fold,) = [line for line in lines if "..." in line]
    assert "993 segments, client 9,930 bytes" in fold
    assert any("closes first" in line for line in lines)


def test_the_picture_is_whole_svg_and_needs_nothing() -> None:
    """Well-formed, with every arrow's words, and no address of elsewhere but the name of the format."""
    found = reading(pcap(polite().packets))
    text = svg(found.connections[0], found)
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "FIN,ACK seq=6 ack=1" in words
    assert "closes first, half-close" in words
    assert text.count("http") == 1
    assert "script" not in text


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    """Refused with what to do; a new one is made whole."""
    there = tmp_path / "there"
    there.write_text("mine")
    for way in (check_new, new_file, lambda path: write_new(path, "theirs")):
        with pytest.raises(UsageError, match="exists and is not overwritten"):
            way(there)
    assert there.read_text() == "mine"
    with pytest.raises(UsageError, match="no folder"):
        check_new(tmp_path / "no" / "file")
    write_new(tmp_path / "new", "words")
    assert (tmp_path / "new").read_text() == "words"


def test_a_file_that_cannot_be_finished_ends_with_a_whole_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of a block: what was written of it is taken away again."""
    file = new_file(tmp_path / "full")
    file.write(b"whole")

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if len(data) < 6:
                raise OSError(28, "No space left on device")
            return super().write(bytes(data)[:3])

    file._file.close()
    monkeypatch.setattr(file, "_file", Full(str(tmp_path / "full"), "r+"))
    file._file.seek(0, 2)
    with pytest.raises(OSError, match="No space"):
        file.write(b"0123456")
    file.close()
    assert (tmp_path / "full").read_bytes() == b"whole"


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, a piece cut out, doubled or the end lost."""
    made = bytearray(data)
    for _ in range(chance.randrange(1, 20)):
        made[chance.randrange(len(made))] = chance.choice((0, 1, 4, 127, 128, 255, chance.randrange(256)))
    if chance.random() < 0.4:
        start = chance.randrange(len(made))
        piece = made[start : start + chance.randrange(200)]
        made[start : start + len(piece) * chance.randrange(2)] = piece
    return bytes(made[: chance.randrange(len(made))] if chance.random() < 0.2 else made)


def everything(data: bytes) -> None:
    """Read, and show in every way; only a CaptureError may come."""
    try:
        found = reading(data)
    except CaptureError:
        return
    found.document(None)
    for each in found.connections:
        found.document(each)
        drawn(each, found)
        svg(each, found)


def _files() -> list[bytes]:
    start = packets.section("<", link=ETHERNET, options=struct.pack("<HHBxxxHH", 9, 1, 9, 0, 0))
    talk = polite().packets
    framed = [(at, packets.framed(ETHERNET, packet)) for at, packet in talk]
    enhanced = start + b"".join(packets.enhanced("<", at, data) for at, data in framed)
    six = [(at, tcp(("fd00::3", 1), ("fd00::2", 2), "PA", seq=at, data=b"x")) for at in range(8)]
    return [pcap(talk, link=link) for link in (ETHERNET, RAW, COOKED2, NULL)] + [enhanced, pcap(six)]


@pytest.mark.parametrize("file", range(len(_files())))
def test_damaged_files_raise_nothing_else(file: int) -> None:
    """Hundreds of damaged copies of each form: read, listed, drawn, or refused as no capture."""
    chance = random.Random(file)
    for _ in range(250):
        everything(mutate(_files()[file], chance))


def test_random_bytes_behind_a_good_header_raise_nothing() -> None:
    """Also as the inside of frames, of every link type."""
    chance = random.Random(9190)
    for link in (ETHERNET, RAW, COOKED, COOKED2, NULL, LOOP, 12, 228):
        for _ in range(200):
            frame = bytes(chance.choices((0, 6, 8, 0x45, 0x60, 0x81, 0x86, 0xDD, 255), k=chance.randrange(120)))
            head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
            everything(head + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def holes(count: int) -> list[Packet]:
    """Every second byte, from the last to the first: each packet leaves another hole."""
    return [(at, tcp(CLIENT, SERVER, "A", seq=2 * (count - at), data=b"x")) for at in range(count)]


def resets(count: int) -> list[Packet]:
    """One side sends, then the other resets, again and again."""
    said = [(at, tcp(CLIENT, SERVER, "A", seq=at, data=b"x")) for at in range(count // 2)]
    return said + [(count + at, tcp(SERVER, CLIENT, "R", seq=at)) for at in range(count // 2)]


@pytest.mark.parametrize("worst", [holes, resets])
def test_the_worst_file_costs_in_proportion_to_its_length(worst: Callable[[int], list[Packet]]) -> None:
    """Twice as many packets take about twice as long, not four times."""

    def cost(count: int) -> float:
        data = pcap(worst(count))
        start = time.process_time()
        reading(data)
        return time.process_time() - start

    small = min(cost(4000) for _ in range(3))
    large = min(cost(16000) for _ in range(3))
    assert large / small < 10


def test_more_segments_than_anybody_reads_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading ends at a number and says so: memory is bounded."""
    monkeypatch.setattr(connections, "MOST_SEGMENTS", 5)
    found = reading(pcap(polite().packets))
    assert found.segments == 5
    assert "only the first 5" in str(found.file.cut)
