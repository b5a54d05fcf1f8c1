import Logging
import Server
import Sharding
import SimulatedDisk
import Synchronization
import Testing
import WAL

@Suite("What a node makes of configurations that it is offered")
struct ConfigurationKeeperTests {
  static func map(
    _ version: Int, _ shards: [[String]] = [["a:1", "a:2"], ["b:1"]], writeQuorum: Int = 1
  ) throws -> ShardMap {
    let shards = shards.enumerated().map { index, nodes in
      let replicas = nodes.dropFirst().map { "\"\($0)\"" }.joined(separator: ",")
      return
        #"{"name":"s\#(index)","index":\#(index),"leader":"\#(nodes[0])","replicas":[\#(replicas)]}"#
    }
    return try ShardMap(
      json: Array(
        #"{"version":\#(version),"write_quorum":\#(writeQuorum),"shards":[\#(shards.joined(separator: ","))]}"#
          .utf8), file: "offer")
  }

  /// What a node at that address is.
  static func place(_ map: ShardMap, _ address: String, index: Int = 0) throws -> Configuration {
    let isListed = map.addresses.contains(address)
    let place = try map.place(
      address: address, shard: isListed ? nil : map.shards[index].name, isReplica: !isListed)
    let parts = address.split(separator: ":")
    var configuration = Configuration(
      dataDirectory: "/data", host: String(parts[0]), port: Int(parts[1])!)
    configuration.map = map
    configuration.shardName = place.shard.name
    configuration.shardIndex = UInt32(place.shard.index)
    configuration.shardCount = UInt32(map.shards.count)
    configuration.members = place.shard.nodes.map { Member(id: $0, address: $0) }
    configuration.role = place.role == .leader ? .leader : .replica
    configuration.leaderAddress = place.shard.leader.flatMap { $0 == address ? nil : $0 }
    configuration.writeQuorum = map.writeQuorum
    return configuration
  }

  private static func keeper(
    _ disk: SimulatedDisk, at address: String = "a:1", _ map: ShardMap
  ) -> ConfigurationKeeper {
    ConfigurationKeeper(
      map, address: address, dataDirectory: "/data", logger: .silent, fileSystem: disk
    ) { try Self.place($0, address) }
  }

  private static func note(_ disk: SimulatedDisk) throws -> ShardMap? {
    try ConfigurationNote("/data", fileSystem: disk).read()
  }

  @Test("is on the disk before it counts")
  func order() throws {
    let disk = SimulatedDisk(seed: 1)
    let keeper = Self.keeper(disk, try Self.map(1))
    disk.fault = { _, _ in
      if keeper.current.number != 1 { Issue.record("it counts, and the disk is still at work") }
      return nil
    }
    #expect(keeper.offer(try Self.map(2)) == .taken)
    #expect(keeper.current.number == 2)
    disk.losePower()
    #expect(try Self.note(disk)?.isSame(as: try Self.map(2)) == true)
    #expect(keeper.offer(try Self.map(2)) == .known)
  }

  @Test("does not count where it cannot be stored; the same offer is taken later")
  func failure() throws {
    for call in 1...20 {
      let disk = SimulatedDisk(seed: UInt64(call))
      let keeper = Self.keeper(disk, try Self.map(1))
      #expect(keeper.offer(try Self.map(2)) == .taken)
      let start = disk.calls
      disk.fault = { _, _ in disk.calls == start + call ? .fail(5) : nil }
      let verdict = keeper.offer(try Self.map(3))
      disk.fault = { _, _ in nil }
      guard case .failed = verdict else {
        #expect(verdict == .taken && call > 4)
        return
      }
      #expect(keeper.current.number == 2)
      #expect(keeper.offer(try Self.map(3)) == .taken)
      #expect(try Self.note(disk)?.version == 3)
    }
    Issue.record("there is no end of calls")
  }

  @Test("that dies at any call goes by the one before or the one behind, and takes the next")
  func crash() throws {
    var isDone = false
    var call = 1
    while !isDone {
      let disk = SimulatedDisk(seed: UInt64(call))
      let keeper = Self.keeper(disk, try Self.map(1))
      keeper.begin(try Self.place(try Self.map(1), "a:1")) { _ in }
      _ = keeper.offer(try Self.map(2))
      let start = disk.calls
      disk.fault = { _, _ in disk.calls >= start + call ? .die : nil }
      isDone = keeper.offer(try Self.map(3, [["a:1"], ["b:1"]])) == .taken
      if call % 2 == 0 { disk.losePower() } else { disk.restartProcess() }
      let found = try #require(try Self.note(disk))
      #expect(found.version == 2 || found.version == 3)
      #expect(!isDone || found.version == 3)
      let next = Self.keeper(disk, found)
      #expect(next.offer(try Self.map(4)) == .taken)
      call += 1
    }
    #expect(call > 5)
  }

  @Test("of two with one version takes one, whoever offers them at once")
  func race() async throws {
    for round in 0..<20 {
      let disk = SimulatedDisk(seed: UInt64(round))
      let keeper = Self.keeper(disk, try Self.map(1))
      let offers = [try Self.map(2), try Self.map(2, [["a:1"], ["b:1"]])]
      let verdicts = await withTaskGroup(of: ConfigurationKeeper.Verdict.self) { group in
        for offer in offers + offers { group.addTask { keeper.offer(offer) } }
        return await group.reduce(into: []) { $0.append($1) }
      }
      #expect(verdicts.count { $0 == .taken } == 1)
      #expect(verdicts.count { $0 == .known } == 1)
      let refusals = verdicts.compactMap {
        if case .refused(let reason) = $0 { reason } else { nil }
      }
      #expect(refusals.count == 2 && refusals.allSatisfy { $0.contains("raise the version") })
      #expect(try Self.note(disk)?.isSame(as: keeper.current.map) == true)
    }
  }

  @Test("begins the node anew where its own place is another, and only there")
  func place() throws {
    let disk = SimulatedDisk(seed: 1)
    let keeper = Self.keeper(disk, try Self.map(1))
    let begun = Mutex<[Configuration]>([])
    func begin(_ configuration: Configuration) {
      keeper.begin(configuration) { next in begun.withLock { $0.append(next) } }
    }
    begin(try Self.place(try Self.map(1), "a:1"))
    #expect(keeper.offer(try Self.map(2, [["a:1", "a:2"], ["b:1", "b:2"]])) == .taken)
    keeper.settle()
    #expect(begun.withLock { $0.isEmpty })
    #expect(keeper.offer(try Self.map(3, [["a:2", "a:1"], ["b:1"]])) == .taken)
    keeper.settle()
    let next = try #require(begun.withLock { $0.last })
    #expect(next.role == .replica && next.leaderAddress == "a:2" && next.map?.version == 3)
    begun.withLock { $0 = [] }
    // What came while it was begun with an older one.
    #expect(keeper.offer(try Self.map(4, [["a:2", "a:1", "a:3"], ["b:1"]])) == .taken)
    begin(next)
    #expect(begun.withLock { $0.last }?.members.count == 3)
  }

  @Test("has a node that becomes a member say that it may lack something")
  func joins() throws {
    let disk = SimulatedDisk(seed: 1)
    let keeper = Self.keeper(disk, at: "a:3", try Self.map(1))
    keeper.begin(try Self.place(try Self.map(1), "a:3")) { _ in }
    #expect(keeper.offer(try Self.map(2, [["a:1", "a:2"], ["b:1", "b:2"]])) == .taken)
    #expect(disk.contents("/data/lacks") == nil)
    #expect(keeper.offer(try Self.map(3, [["a:1", "a:2", "a:3"], ["b:1"]])) == .taken)
    #expect(disk.contents("/data/lacks") != nil)
  }

  @Test("is not taken out of its shard while it does not know who leads")
  func removed() throws {
    let disk = SimulatedDisk(seed: 1)
    let keeper = Self.keeper(disk, at: "a:2", try Self.map(1))
    keeper.begin(try Self.place(try Self.map(1), "a:2")) { _ in }
    guard case .refused(let reason) = keeper.offer(try Self.map(2, [["a:1"], ["b:1"]])) else {
      Issue.record("taken")
      return
    }
    #expect(reason.contains("is starting: ask again"))
    #expect(try Self.note(disk) == nil && keeper.current.number == 1)
  }

  @Test("is refused what it cannot run with")
  func impossible() throws {
    struct TooMany: Error, CustomStringConvertible { let description = "too many" }
    let disk = SimulatedDisk(seed: 1)
    let keeper = ConfigurationKeeper(
      try Self.map(1), address: "a:1", dataDirectory: "/data", logger: .silent, fileSystem: disk
    ) { map in
      if map.writeQuorum > 1 { throw TooMany() }
      return try Self.place(map, "a:1")
    }
    keeper.begin(try Self.place(try Self.map(1), "a:1")) { _ in }
    let pairs = [["a:1", "a:2"], ["b:1", "b:2"]]
    #expect(keeper.offer(try Self.map(2, pairs, writeQuorum: 2)) == .refused("too many"))
    #expect(try Self.note(disk) == nil)
    #expect(keeper.offer(try Self.map(1, pairs)) != .taken)
    #expect(keeper.offer(try Self.map(2, pairs)) == .taken)
  }
}
