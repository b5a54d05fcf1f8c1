import Server
import Sharding
import Synchronization
import TemporaryFiles
import Testing
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

@Suite("An announcement")
struct AnnouncementTests {
  private static let good = "as=b:2&leader=a:1&replicas=b%3A2%2C[::1]:3&w=3&r=1"

  private func refusal(_ text: String) -> String? {
    do throws(Announcement.Refusal) {
      _ = try Announcement(text.utf8)
      return nil
    } catch {
      return error.description
    }
  }

  @Test("is read, written and read again")
  func text() throws {
    let read = try Announcement(Self.good.utf8)
    #expect(read.addressee == "b:2" && read.membership.leader == "a:1")
    #expect(read.membership.replicas == ["b:2", "[::1]:3"])
    #expect(read.membership.writeQuorum == 3 && read.membership.readQuorum == 1)
    #expect(try Announcement(read.text.utf8) == read)
    #expect(!read.text.contains("[") && !read.text.contains(" "))
    let known = try Announcement(
      (Self.good + "&origin=00000000000a11ce&epoch=2-00000000000000ff").utf8)
    #expect(known.history != nil && known != read)
    #expect(try Announcement(known.text.utf8) == known)
  }

  @Test("is refused where anything is missing, malformed or contradictory")
  func refusals() {
    for name in ["as", "leader", "replicas", "w", "r"] {
      let text = Self.good.split(separator: "&").filter { !$0.hasPrefix(name + "=") }
      #expect(refusal(text.joined(separator: "&")) != nil, "without \(name)")
    }
    for (old, new) in [
      ("as=b:2", "as=c:2"), ("as=b:2", "as=a:1"), ("leader=a:1", "leader=a"),
      ("leader=a:1", "leader=b:2"), ("w=3", "w=0"), ("w=3", "w=4"), ("w=3", "w=x"), ("r=1", "r=4"),
      ("r=1", "r=1&origin=0"), ("r=1", "r=1&epoch=1-0000000000000001"),
      ("r=1", "r=1&origin=0&epoch=one"), ("r=1", "r=1&x=%zz"),
    ] {
      #expect(
        refusal(Self.good.replacing(old, with: new)) != nil, "\(new) in place of \(old)")
    }
    #expect(refusal(Self.good) == nil)
  }

  @Test("is noted for a start with data, and a note that cannot be read is none")
  func note() throws {
    let directory = TemporaryDirectory()
    let note = AnnouncementNote(directory.path)
    #expect(try AnnouncementNote(directory.path + "/none").read() == nil)
    #expect(try note.read() == nil)
    let told = try Announcement(
      (Self.good + "&origin=00000000000a11ce&epoch=2-00000000000000ff").utf8)
    try note.write(told)
    // Who has nothing follows whoever comes first.
    #expect(try note.read() == nil)
    let snapshots = directory.path + "/snapshots"
    try FileManager.default.createDirectory(
      atPath: snapshots, withIntermediateDirectories: true)
    try Data().write(to: URL(fileURLWithPath: snapshots + "/00000000000000000007.snap"))
    let noted = try #require(try note.read())
    #expect(noted.membership == told.membership && noted.addressee == told.addressee)
    #expect(noted.history == nil)
    let longer = try Announcement(
      "as=b:2&leader=a:1&replicas=b:2,c:3,d:4&w=1&r=1".utf8)
    try note.write(longer)
    try note.write(told)
    #expect(try note.read() == noted)
    try Data("as=b:2&leader".utf8).write(
      to: URL(fileURLWithPath: directory.path + "/announced"))
    #expect(try note.read() == nil)
  }

  @Test("is not taken where the node knows its shard from elsewhere, or leads it")
  func notTaken() async throws {
    let target = "/admin/announce?" + Self.good
    try await RunningNode.with(.fast) { node in
      let known = try await node.ask("POST", target)
      #expect(known.status == 409 && known.text.contains("knows its shard from elsewhere"))
      let bad = try await node.ask("POST", target.replacing("w=3", with: "w=0"))
      #expect(bad.status == 400 && bad.text.contains("no announcement: "))
    }
    let changes = Mutex(0)
    try await RunningNode.with(
      .fast, { $0.onAnnouncement = { _ in changes.withLock { $0 += 1 } } }
    ) { node in
      let leads = try await node.ask("POST", target)
      #expect(leads.status == 409 && leads.text.contains("this node leads its shard"))
    }
    #expect(changes.withLock { $0 } == 0)
  }

  @Test("is taken by a replica where it is of its log, in no lower epoch, and not one that it has")
  func fitting() async throws {
    let membership = try Announcement(Self.good.utf8).membership
    let changes = Mutex<[Announcement]>([])
    try await RunningNode.with(
      .fast,
      {
        $0.nodeID = "b:2"
        $0.members = ["a:1", "b:2", "[::1]:3"].map { Member(id: $0, address: $0) }
        $0.leaderAddress = "127.0.0.1:1"
        $0.announcement = membership
        $0.onAnnouncement = { told in changes.withLock { $0.append(told) } }
      }
    ) { node in
      // It has led, and has promised to follow somebody else since.
      let parts = try await node.ask("GET", "/wal/position").text.split(separator: " ")
      let promised = try await node.ask(
        "POST", "/admin/promise?epoch=5-00000000000000aa&origin=\(parts[0])")
      #expect(promised.status == 200, "\(promised.text)")
      let other = "/admin/announce?" + Self.good.replacing("w=3", with: "w=2")
      try await #expect(node.ask("POST", "/admin/announce?" + Self.good).status == 204)
      let unknown = try await node.ask("POST", other)
      #expect(unknown.status == 409 && unknown.text.contains("not said with which log"))
      for history in [
        "&origin=00000000000000bb&epoch=\(parts[1])",
        "&origin=\(parts[0])&epoch=0-00000000000000aa",
      ] {
        let refused = try await node.ask("POST", other + history)
        #expect(refused.status == 409 && refused.text.contains("this node has the log "))
      }
      #expect(changes.withLock { $0.isEmpty })
      let taken = try await node.ask("POST", other + "&origin=\(parts[0])&epoch=\(parts[1])")
      #expect(taken.status == 204 && changes.withLock { $0.map(\.membership.writeQuorum) } == [2])
    }
  }
}
