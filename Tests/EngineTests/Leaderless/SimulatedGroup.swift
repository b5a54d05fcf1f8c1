import Engine
import SimulatedDisk
import WAL

/// A leaderless shard whose nodes are cut off from each other, stopped, killed, emptied, and heal; and what should
/// come of it, by the definition: of each key the values that no other write that is left has replaced.
///
/// Everything follows from the seed.
final class SimulatedGroup {
  private struct Write {
    var dot: Dot
    var key: [UInt8]
    var clock: VersionVector
    var expiry: UInt64?
    /// Nil for a deletion.
    var value: [UInt8]?
    /// Nodes that have had it durable when its client was told so.
    var holders: Set<Int> = []
  }

  struct Outcome {
    var violation: String?
    var writes = 0
    var siblings = 0
    var deletions = 0
    var expired = 0
    var crashes = 0
    var emptied = 0
    var renewed = 0
    var absorbed = 0
    var mostSiblings = 0
  }

  private let seed: UInt64
  private var random: SeededRandom
  private let clock = SimulatedClock()
  private var nodes: [SimulatedMember] = []
  private var writes: [Dot: Write] = [:]
  private var origins: UInt64 = 100
  /// Who reaches whom.
  private var cut: Set<[Int]> = []
  private var contexts: [[UInt8]: VersionVector] = [:]
  private var outcome = Outcome()
  /// The lowest number of each log that nobody has any more.
  private var lost: [UInt64: UInt64] = [:]

  private struct Broken: Error { let reason: String }

  init(seed: UInt64, nodes count: Int) {
    self.seed = seed
    random = SeededRandom(seed: seed)
    for number in 0..<count {
      nodes.append(SimulatedMember(number, seed: seed &* 31 &+ UInt64(number), clock: clock))
    }
  }

  static func run(seed: UInt64, nodes: Int, steps: Int = 90) -> Outcome {
    let group = SimulatedGroup(seed: seed, nodes: nodes)
    do {
      for node in group.nodes { try group.start(node) }
      for _ in 0..<steps { try group.step() }
      try group.heal()
      try group.check()
    } catch let broken as Broken {
      group.outcome.violation = broken.reason
    } catch {
      group.outcome.violation = "\(error)"
    }
    return group.outcome
  }

  // MARK: - Steps

  private func start(_ node: SimulatedMember) throws {
    origins += 1
    let others = nodes.filter { $0 !== node && $0.isUp && reaches(node.number, $0.number) }
    try node.start(fresh: origins) { origin in others.map { $0.applied(origin) }.max() ?? 0 }
    if node.origin == origins { outcome.renewed += 1 }
  }

  private func reaches(_ a: Int, _ b: Int) -> Bool { !cut.contains([a, b]) }

  private func step() throws {
    clock.advance(milliseconds: UInt64(1 + random.below(60)))
    let node = nodes[random.below(nodes.count)]
    guard node.isUp else {
      if random.once(in: 3) { try start(node) }
      return
    }
    switch random.below(100) {
    case ..<40: try write(at: node)
    case ..<75: try ship(to: node, atMost: 1 + random.below(4))
    case ..<80: node.tick()
    case ..<86:
      let retires = !random.once(in: 4)
      try node.snapshot(retires: retires) {
        // The node goes on.
        if random.once(in: 2) { try write(at: node) }
        if random.once(in: 2) { try ship(to: node, atMost: 3) }
      }
    case ..<88: isolate(node.number)
    case ..<92: cut = []
    case ..<94:
      node.crash(losingPower: random.once(in: 2))
      outcome.crashes += 1
    case ..<96: try node.stop()
    case ..<98: try empty(node)
    default: oneWay()
    }
  }

  private func isolate(_ number: Int) {
    for other in nodes.indices where other != number && random.once(in: 2) {
      cut.insert([number, other])
      cut.insert([other, number])
    }
  }

  private func oneWay() {
    cut.insert([random.below(nodes.count), random.below(nodes.count)])
  }

  /// Its disk is replaced; its name stays.
  private func empty(_ node: SimulatedMember) throws {
    node.crash(losingPower: false)
    let number = node.number
    nodes[number] = SimulatedMember(number, seed: random.next(), clock: clock)
    for (dot, write) in writes where write.holders.contains(number) {
      writes[dot]!.holders.remove(number)
    }
    outcome.emptied += 1
    try start(nodes[number])
  }

  private func write(at node: SimulatedMember) throws {
    let key = Array("key-\(random.below(5))".utf8)
    let before = node.logs[node.origin]!.writer.position.sequence
    let isConditional = random.once(in: 3)
    let context = isConditional ? contexts[key] : nil
    let kind = random.below(10)
    let value = random.bytes(random.below(30))
    let expiry = random.once(in: 6) ? clock.wallMilliseconds + UInt64(random.below(3_000)) : nil
    let submission = node.commit { submission in
      key.withUnsafeBytes { key in
        let hash = node.state.index.hasher(key)
        value.withUnsafeBytes { value in
          if kind < 7 {
            submission.put(key, value, hash, expiry: expiry, context: context, token: 0)
          } else if kind < 9 {
            submission.delete(key, hash, context: context, token: 0)
          } else {
            submission.beginBatch()
            submission.addPut(key, value)
            submission.addPut(key, value, expiry: expiry)
            submission.endBatch(token: 0)
          }
        }
      }
    }
    outcome.writes += submission.requests.count { $0.isWritten }
    try note(node, behind: before)
    // What a client sees here, it may use anywhere later.
    if random.once(in: 2) {
      let versions = key.withUnsafeBytes { node.state.versions(of: $0) }
      outcome.mostSiblings = max(outcome.mostSiblings, versions.all.count)
      contexts[key] = versions.context
    }
  }

  /// What a node's own log has got.
  private func note(_ node: SimulatedMember, behind sequence: UInt64) throws {
    guard let frames = try node.frames(of: node.origin, behind: sequence, atMost: .max) else {
      throw Broken(reason: "a log has lost what was just written")
    }
    for frame in frames {
      let records = frame.bytes[Format.frameHeaderBytes...]
      try records.withUnsafeBytes { bytes in
        var cursor = RecordCursor(count: frame.header.recordCount)
        var number = frame.header.firstSequence
        while let record = try cursor.next(in: bytes.bytes) {
          defer { number += 1 }
          guard record.type == .put || record.type == .delete else { continue }
          var clock = VersionVector()
          let entries = bytes.bytes.extracting(record.clock)
          for index in 0..<record.clock.count / ClockEntry.encodedBytes {
            let entry = ClockEntry(in: entries, at: index)
            clock.add(Dot(origin: entry.origin, sequence: entry.sequence))
          }
          let dot = Dot(origin: node.origin, sequence: number)
          guard writes[dot] == nil else { throw Broken(reason: "\(dot) was used twice") }
          writes[dot] = Write(
            dot: dot, key: Array(bytes[record.key]), clock: clock,
            expiry: record.metadata.expiryMilliseconds,
            value: record.type == .put ? Array(bytes[record.value]) : nil,
            holders: [node.number])
          if record.type == .delete { outcome.deletions += 1 }
        }
      }
    }
  }

  /// The node fetches something of somebody's log from somebody.
  private func ship(to node: SimulatedMember, atMost count: Int) throws {
    let others = nodes.filter {
      $0 !== node && $0.isUp && reaches($0.number, node.number)
    }
    guard let source = others.randomElement(using: &random) else { return }
    let origins = source.logs.keys.filter { $0 != node.origin }.sorted()
    guard let origin = origins.randomElement(using: &random) else { return }
    try fetch(origin, from: source, to: node, atMost: count)
  }

  private func fetch(
    _ origin: UInt64, from source: SimulatedMember, to node: SimulatedMember, atMost count: Int
  ) throws {
    let had = node.logs[origin]?.writer.position.sequence ?? 0
    if let frames = try source.frames(of: origin, behind: had, atMost: count) {
      if !frames.isEmpty { try node.take(frames, of: origin) }
    } else if !node.isInSnapshot {
      if try source.newestSnapshot == nil { try source.snapshot(retires: false) }
      try node.absorb(try source.newestSnapshot!, on: source.disk)
      outcome.absorbed += 1
    }
    let applied = node.state.applied
    for (dot, write) in writes
    where !write.holders.contains(node.number) && applied.covers(dot) {
      writes[dot]!.holders.insert(node.number)
    }
  }

  // MARK: - The end

  private func heal() throws {
    cut = []
    for node in nodes where !node.isUp { try start(node) }
    for _ in 0..<200 {
      clock.advance(milliseconds: 20)
      var isDone = true
      for node in nodes {
        for source in nodes where source !== node {
          for origin in source.logs.keys.sorted() where origin != node.origin {
            guard source.applied(origin) > node.applied(origin) else { continue }
            isDone = false
            try fetch(origin, from: source, to: node, atMost: 50)
          }
        }
      }
      if isDone {
        // Everybody's time is the same then: what expires does so at a frame.
        let times = Set(nodes.map { $0.state.index.frameTime })
        if times.count == 1 { return }
      }
    }
    throw Broken(reason: "it does not come to rest: \(nodes.map { "\($0.state.applied)" })")
  }

  private func check() throws {
    let applied = nodes[0].state.applied
    for node in nodes where node.state.applied != applied {
      throw Broken(reason: "node \(node.number) is at \(node.state.applied), not \(applied)")
    }
    let digests = Set(nodes.map { $0.state.index.digest() })
    // What no node has any more was never on more than those that were emptied.
    let left = writes.values.filter { applied.covers($0.dot) }
    for write in writes.values where !applied.covers(write.dot) && !write.holders.isEmpty {
      throw Broken(reason: "\(write.dot) is lost, and was on \(write.holders)")
    }
    let time = nodes[0].state.index.frameTime
    for key in Set(left.map(\.key)) {
      let ofKey = left.filter { $0.key == key }
      let live = ofKey.filter { write in
        write.value != nil && !ofKey.contains { $0.clock.covers(write.dot) }
      }
      let expected = live.filter { $0.expiry.map { $0 > time } ?? true }
      outcome.expired += live.count - expected.count
      if expected.count > 1 { outcome.siblings += 1 }
      for node in nodes {
        let versions = key.withUnsafeBytes { node.state.versions(of: $0) }
        guard Set(versions.all.map(\.dot)) == Set(expected.map(\.dot)) else {
          throw Broken(
            reason:
              "node \(node.number) has \(versions.all.map(\.dot)) of \(String(decoding: key, as: UTF8.self)), expected \(expected.map(\.dot)); all: \(ofKey.sorted { $0.dot < $1.dot })"
          )
        }
        for version in versions.all where writes[version.dot]!.value != version.value {
          throw Broken(reason: "\(version.dot) has another value")
        }
      }
    }
    guard digests.count == 1 else { throw Broken(reason: "the digests differ: \(digests)") }
    for node in nodes where node.state.index.count != nodes[0].state.index.count {
      throw Broken(reason: "the number of keys differs")
    }
    // Whoever starts anew from what is on the disk has the same.
    for node in nodes {
      let digest = node.state.index.digest()
      node.crash(losingPower: random.once(in: 2))
      try start(node)
      guard node.state.index.digest() == digest else {
        throw Broken(reason: "node \(node.number) has something else after a restart")
      }
    }
  }
}
