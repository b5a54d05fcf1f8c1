import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("What a leader knows of its followers") struct LeaderProgressTests {
  private static let second: UInt64 = 1_000_000_000

  private static func leader(_ members: String..., quorum: Int = 2) -> LeaderProgress {
    LeaderProgress(
      others: members.map { LeaderProgress.Peer(id: $0, address: "\($0):1") }, quorum: quorum,
      copySeconds: 120)
  }

  private static func epoch(_ number: UInt64, at first: UInt64) -> EpochHistory.Start {
    EpochHistory.Start(epoch: Epoch(number: number, node: 1), firstSequence: first)
  }

  private static func rows(_ leader: LeaderProgress, at now: UInt64 = 0) -> [String: LeaderProgress
    .Row]
  {
    let rows = leader.rows(at: now) { ReplicaLag(records: 1_000 - $0) }
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.id, $0) })
  }

  @Test("a member of which nothing was heard is offline, with everything unknown, and may need all")
  func unheard() throws {
    let leader = Self.leader("a", "b")
    let row = try #require(Self.rows(leader)["a"])
    #expect(row.id == "a" && row.address == "a:1" && row.isMember && row.state == .offline)
    #expect(row.durable == nil && row.lag == .unknown && row.silentSeconds == nil)
    #expect(leader.memberCount == 3 && leader.streamingCount == 1)
    #expect(leader.needed(isLeading: true) == 0 && leader.ids == ["a", "b"])
  }

  @Test("nobody else is needed log for by a node alone")
  func alone() {
    let leader = Self.leader(quorum: 1)
    #expect(
      leader.needed(isLeading: true) == nil && leader.memberCount == 1
        && leader.confirmed(own: 9, since: Self.epoch(1, at: 1)) == 9)
    #expect(leader.count(having: 9, own: 9) == 1 && leader.count(having: 10, own: 9) == 0)
  }

  @Test("a stream is catching up until it is live, and offline when it was closed")
  func states() throws {
    var leader = Self.leader("a")
    let stream = try leader.open("a", from: 5, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .catchingUp && leader.streamingCount == 1)
    #expect(leader.needed(isLeading: true) == 4)
    leader.caughtUp(stream)
    #expect(Self.rows(leader)["a"]?.state == .streaming && leader.streamingCount == 2)
    leader.fellBehind(stream)
    #expect(Self.rows(leader)["a"]?.state == .catchingUp)
    leader.caughtUp(stream)
    leader.streamClosed(stream, at: 7 * Self.second)
    let row = Self.rows(leader, at: 10 * Self.second)["a"]
    #expect(
      row?.state == .offline && row?.silentSeconds == 3 && leader.needed(isLeading: true) == 4)
  }

  @Test("of two streams of one replica the newer one counts, whichever ends first")
  func twoStreams() throws {
    var leader = Self.leader("a")
    let old = try leader.open("a", from: 5, at: 0)
    leader.caughtUp(old)
    let new = try leader.open("a", from: 9, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .catchingUp)
    leader.caughtUp(old)
    #expect(Self.rows(leader)["a"]?.state == .catchingUp)
    leader.caughtUp(new)
    leader.fellBehind(old)
    leader.streamClosed(old, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .streaming && leader.needed(isLeading: true) == 8)
    leader.streamClosed(new, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .offline)
  }

  @Test("an acknowledgement counts for what it says and nothing less, in whatever order they come")
  func acknowledgements() {
    var leader = Self.leader("a", "b")
    #expect(
      leader.count(having: 10, own: 12) == 1
        && leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 0)
    leader.acknowledge("a", 10)
    #expect(leader.count(having: 10, own: 12) == 2 && leader.count(having: 11, own: 12) == 1)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 10)
    leader.acknowledge("a", 7)
    #expect(
      leader.count(having: 10, own: 12) == 2
        && leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 10)
    leader.acknowledge("b", 12)
    #expect(
      leader.count(having: 10, own: 12) == 3
        && leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 12)
    #expect(leader.needed(isLeading: true) == 10)
    #expect(Self.rows(leader)["a"]?.durable == 10 && Self.rows(leader)["a"]?.lag.records == 990)
  }

  @Test("a quorum of three waits for the slowest, and one that is not configured never comes")
  func quorums() {
    var leader = Self.leader("a", "b", quorum: 3)
    leader.acknowledge("a", 10)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 0)
    leader.acknowledge("b", 4)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 4)
    #expect(Self.leader("a", quorum: 3).confirmed(own: 12, since: Self.epoch(1, at: 1)) == 0)
  }

  @Test(
    "what is of an older epoch is confirmed with the first record of the newest, and not before")
  func olderEpochs() {
    var leader = Self.leader("a", "b")
    leader.acknowledge("a", 10)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 5)) == 10)
    // It has begun an epoch at 11, and members have all that is before.
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 11)) == 0)
    #expect(leader.number(confirmedBy: 2, own: 12, since: Self.epoch(1, at: 11)) == 0)
    #expect(leader.number(confirmedBy: 1, own: 12, since: Self.epoch(1, at: 11)) == 12)
    leader.acknowledge("b", 11)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 11)) == 11)
    #expect(leader.number(confirmedBy: 3, own: 12, since: Self.epoch(1, at: 11)) == 0)
    leader.acknowledge("a", 12)
    #expect(leader.number(confirmedBy: 3, own: 12, since: Self.epoch(1, at: 11)) == 11)
  }

  @Test(
    "who has promised an epoch stands for what it had then, until that or a higher one has begun")
  func pledged() {
    var leader = Self.leader("a", "b")
    leader.acknowledge("a", 20)
    #expect(leader.confirmed(own: 12, since: Self.epoch(1, at: 1)) == 12)
    leader.pledged(Epoch(number: 4, node: 1), own: 12, since: Self.epoch(1, at: 1))
    #expect(leader.confirmed(own: 18, since: Self.epoch(1, at: 1)) == 12)
    // What was had before the second promise came behind the first.
    leader.pledged(Epoch(number: 5, node: 1), own: 18, since: Self.epoch(3, at: 11))
    #expect(leader.confirmed(own: 18, since: Self.epoch(3, at: 11)) == 12)
    #expect(leader.confirmed(own: 19, since: Self.epoch(5, at: 19)) == 19)
    leader.pledged(Epoch(number: 6, node: 1), own: 19, since: Self.epoch(5, at: 19))
    #expect(leader.confirmed(own: 30, since: Self.epoch(5, at: 19)) == 19)
    #expect(leader.number(confirmedBy: 2, own: 30, since: nil) == 0)
  }

  @Test("who asks for what it has acknowledged has lost it, and counts no more")
  func lost() throws {
    var leader = Self.leader("a")
    leader.acknowledge("a", 10)
    _ = leader.streamOpened("a", from: 11, at: 0)
    #expect(leader.count(having: 10, own: 10) == 2)
    _ = leader.streamOpened("a", from: 10, at: 0)
    #expect(leader.count(having: 10, own: 10) == 1 && leader.needed(isLeading: true) == 9)
    #expect(Self.rows(leader)["a"]?.durable == nil && Self.rows(leader)["a"]?.lag == .unknown)
  }

  @Test("a replica that is not configured is shown and kept log for, and counts for nothing")
  func guests() throws {
    var leader = Self.leader("a")
    leader.acknowledge("a", 20)
    let stream = try leader.open("guest", from: 11, at: 0)
    leader.caughtUp(stream)
    leader.acknowledge("guest", 30)
    #expect(
      leader.count(having: 30, own: 30) == 1
        && leader.confirmed(own: 30, since: Self.epoch(1, at: 1)) == 20)
    #expect(leader.streamingCount == 1 && leader.memberCount == 2)
    let row = try #require(Self.rows(leader)["guest"])
    #expect(row.address == nil && !row.isMember && row.durable == 30 && row.state == .streaming)
    // It stays known, and so is what it needs.
    leader.streamClosed(stream, at: 0)
    leader.acknowledge("a", 40)
    #expect(leader.needed(isLeading: true) == 30)
  }

  @Test("a copy is copying for a while, and needs the log behind its snapshot when it follows")
  func copies() throws {
    var leader = Self.leader("a")
    leader.acknowledge("a", 50)
    leader.snapshotRead("a", sequence: 40, at: 0)
    #expect(Self.rows(leader, at: 119 * Self.second)["a"]?.state == .copying)
    // What it had is gone.
    #expect(Self.rows(leader)["a"]?.durable == nil && leader.needed(isLeading: true) == 40)
    #expect(Self.rows(leader, at: 120 * Self.second)["a"]?.state == .offline)
    let stream = try leader.open("a", from: 41, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .catchingUp)
    // A stream says more than a copy.
    leader.snapshotRead("a", sequence: 10, at: 0)
    #expect(leader.needed(isLeading: true) == 40)
    leader.streamClosed(stream, at: 0)
    #expect(Self.rows(leader)["a"]?.state == .offline)
  }

  @Test("who only copies, as a backup does, is needed no log for and is forgotten")
  func backups() {
    var leader = Self.leader()
    leader.snapshotRead("backup", sequence: 40, at: 0)
    #expect(Self.rows(leader)["backup"]?.state == .copying && leader.needed(isLeading: true) == nil)
    #expect(Self.rows(leader, at: 200 * Self.second).isEmpty)
    _ = leader.streamOpened("other", from: 1, at: 200 * Self.second)
    #expect(leader.ids == ["other"])
  }

  @Test("names are bounded: the one gone for longest is forgotten, and none that is there")
  func bounded() throws {
    var leader = Self.leader("member")
    var streams: [LeaderProgress.StreamID] = []
    for number in 0..<LeaderProgress.guestsMax {
      streams.append(try leader.open("g\(number)", from: 1, at: 0))
    }
    let refused = leader.streamOpened("one more", from: 1, at: 0)
    let isTaken = leader.acknowledged("one more", 1, at: 0)
    #expect(refused == nil && !isTaken)
    _ = try leader.open("member", from: 1, at: 0)
    _ = try leader.open("g3", from: 1, at: 0)
    leader.streamClosed(streams[8], at: 9)
    leader.streamClosed(streams[5], at: 5)
    _ = try leader.open("one more", from: 1, at: 10)
    #expect(!leader.knows("g5") && leader.knows("g8"))
    #expect(leader.ids.count == LeaderProgress.guestsMax + 1)
  }

  /// Held against a model that keeps every event.
  @Test("comes to what all events together say", arguments: 0..<20 as Range<UInt64>)
  func model(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let names = ["a", "b", "c", "guest"]
    var leader = Self.leader("a", "b", "c", quorum: 3)
    var own: UInt64 = 1
    var known: [String: UInt64] = [:]
    for _ in 0..<500 {
      let name = names[random.below(names.count)]
      switch random.below(4) {
      case 0: own += UInt64(random.below(5))
      case 1:
        let from = 1 + UInt64(random.below(Int(own)))
        _ = leader.streamOpened(name, from: from, at: 0)
        if let has = known[name], has >= from { known[name] = nil }
      default:
        let sequence = UInt64(random.below(Int(own) + 1))
        leader.acknowledge(name, sequence)
        known[name] = max(known[name] ?? 0, sequence)
      }
      let numbers = [own] + ["a", "b", "c"].map { known[$0] ?? 0 }
      for sequence in [1, own / 2, own] {
        #expect(
          leader.count(having: sequence, own: own) == numbers.count { $0 >= sequence && $0 > 0 }
            || sequence == 0)
      }
      #expect(leader.confirmed(own: own, since: Self.epoch(1, at: 1)) == numbers.sorted(by: >)[2])
    }
  }

  @Test("keeps nothing, on a replica, for members of whom it has not heard, and does not show them")
  func onReplica() {
    var progress = LeaderProgress(
      others: [.init(id: "b", address: "b:1"), .init(id: "c", address: "c:1")], quorum: 1,
      copySeconds: 120)
    #expect(progress.needed(isLeading: true) == 0)
    #expect(progress.needed(isLeading: false) == nil)
    #expect(progress.rows(at: 0, isLeading: false) { _ in .unknown }.isEmpty)
    _ = progress.streamOpened("c", from: 8, at: 1)
    #expect(progress.needed(isLeading: true) == 0)
    #expect(progress.needed(isLeading: false) == 7)
    #expect(progress.rows(at: 2, isLeading: false) { _ in .unknown }.map(\.id) == ["c"])
  }
}

extension LeaderProgress {
  fileprivate mutating func acknowledge(_ id: String, _ sequence: UInt64) {
    let isTaken = acknowledged(id, sequence, at: 0)
    #expect(isTaken)
  }

  fileprivate mutating func open(
    _ id: String, from: UInt64, at now: UInt64
  ) throws -> StreamID {
    let stream = streamOpened(id, from: from, at: now)
    return try #require(stream)
  }
}
