import Engine
import SimulatedDisk
import Testing

@Suite("The versions of a key") struct KeyVersionsTests {
  private struct Write {
    var dot: Dot
    var clock: VersionVector
    var version: KeyVersion?
  }

  /// Writes that nodes make who each know some of the others' writes, each node's in its own order.
  ///
  /// - Parameter isSimple: nobody deletes, and who writes replaces all that the node has.
  private static func history(
    _ random: inout SeededRandom, isSimple: Bool = false
  ) -> [Write] {
    let nodes = 2 + random.below(3)
    var writes: [Write] = []
    // What each node has: of every log a prefix.
    var known = [VersionVector](repeating: VersionVector(), count: nodes)
    var states = [KeyVersions](repeating: KeyVersions(), count: nodes)
    // What clients have seen at some time.
    var seen = [VersionVector()]
    for _ in 0..<3 + random.below(12) {
      let node = random.below(nodes)
      // It hears of somebody's next write, or writes itself.
      let origin = UInt64(1 + random.below(nodes))
      if origin != UInt64(node + 1), random.once(in: 2) {
        guard
          let next = writes.first(where: {
            $0.dot.origin == origin && !known[node].covers($0.dot)
          })
        else { continue }
        apply(next, to: &states[node])
        known[node].add(next.dot)
        continue
      }
      let dot = Dot(origin: UInt64(node + 1), sequence: known[node][UInt64(node + 1)] + 1)
      var clock = states[node].context
      // A client that has seen less.
      if !isSimple, random.once(in: 3) {
        let context = seen.randomElement(using: &random)!
        clock = context
        // With all that what it replaces had replaced.
        for version in states[node].all where context.covers(version.dot) {
          clock.merge(version.clock)
          clock.add(version.dot)
        }
      }
      seen.append(states[node].context)
      let isPut = isSimple || !random.once(in: 4)
      let write = Write(
        dot: dot, clock: clock,
        version: isPut
          ? KeyVersion(
            dot: dot, clock: clock, stamp: random.next() >> 8, value: random.bytes(random.below(4)))
          : nil)
      writes.append(write)
      apply(write, to: &states[node])
      known[node].add(dot)
    }
    return writes
  }

  private static func apply(_ write: Write, to versions: inout KeyVersions) {
    if let version = write.version {
      versions.put(version)
    } else {
      versions.delete(write.clock)
    }
  }

  /// What is left of them, by the definition: the values that no other write has replaced.
  private static func expected(_ writes: [Write]) -> Set<Dot> {
    Set(
      writes.filter { write in
        write.version != nil && !writes.contains { $0.clock.covers(write.dot) }
      }.map(\.dot))
  }

  @Test("are those that no write replaces, whatever the order in which they come and however often")
  func anyOrder() {
    var random = SeededRandom(seed: 4)
    var conflicts = 0
    for _ in 0..<4_000 {
      let writes = Self.history(&random, isSimple: true)
      var versions = KeyVersions()
      for write in writes.shuffled(using: &random) + writes.shuffled(using: &random) {
        Self.apply(write, to: &versions)
      }
      #expect(Set(versions.all.map(\.dot)) == Self.expected(writes))
      #expect(versions.all.map(\.stamp) == versions.all.map(\.stamp).sorted(by: >))
      if versions.all.count > 1 { conflicts += 1 }
    }
    #expect(conflicts > 400)
  }

  @Test("of two nodes are merged to what both together know, from either side")
  func merged() {
    var random = SeededRandom(seed: 5)
    var differences = 0
    for _ in 0..<4_000 {
      let writes = Self.history(&random)
      // Each has a prefix of every log.
      func some() -> (VersionVector, KeyVersions, [Write]) {
        var known = VersionVector()
        var cut: [UInt64: Int] = [:]
        for origin in 1...5 as ClosedRange<UInt64> { cut[origin] = random.below(8) }
        let had = writes.filter { Int($0.dot.sequence) <= cut[$0.dot.origin]! }
        for write in had { known.add(write.dot) }
        let live = Self.expected(had)
        return (known, KeyVersions(had.compactMap(\.version).filter { live.contains($0.dot) }), had)
      }
      let (knownA, a, hadA) = some()
      let (knownB, b, hadB) = some()
      var left = a
      left.merge(b, known: knownA, theirs: knownB)
      var right = b
      right.merge(a, known: knownB, theirs: knownA)
      // What either knows to be replaced, though it may not have come to it.
      for clock in (hadA + hadB).map(\.clock) {
        left.delete(clock)
        right.delete(clock)
      }
      let all = hadA + hadB.filter { write in !hadA.contains { $0.dot == write.dot } }
      #expect(left == right)
      #expect(Set(left.all.map(\.dot)) == Self.expected(all))
      var again = left
      var known = knownA
      known.merge(knownB)
      again.merge(b, known: known, theirs: knownB)
      for clock in hadB.map(\.clock) { again.delete(clock) }
      #expect(again == left)
      if a != b { differences += 1 }
    }
    #expect(differences > 1_000)
  }

  @Test("have a tag that depends on nothing but which they are")
  func tag() {
    let one = KeyVersion(
      dot: Dot(origin: 1, sequence: 7), clock: VersionVector(), stamp: 1, value: [1])
    let two = KeyVersion(
      dot: Dot(origin: 2, sequence: 7), clock: VersionVector(), stamp: 2, value: [2])
    #expect(KeyVersions([one, two]).tag == KeyVersions([two, one]).tag)
    #expect(KeyVersions([one]).tag != KeyVersions([two]).tag)
    #expect(KeyVersions([one]).tag != KeyVersions([one, two]).tag)
    #expect(KeyVersions([one, two]).newest == two)
  }

  @Test("are read from the bytes that they are written as, and from no others")
  func bytes() throws {
    var random = SeededRandom(seed: 6)
    for _ in 0..<500 {
      let versions = KeyVersions(
        (0..<random.below(4)).map { number in
          var clock = VersionVector()
          for _ in 0..<random.below(4) {
            clock.add(Dot(origin: random.next(), sequence: 1 + random.next() >> 4))
          }
          return KeyVersion(
            dot: Dot(origin: UInt64(number + 1), sequence: 1 + random.next() >> 4), clock: clock,
            stamp: random.next(), expiry: random.once(in: 2) ? random.next() : nil,
            value: random.bytes(random.below(40)))
        })
      var bytes: [UInt8] = []
      versions.encode(into: &bytes)
      #expect(bytes.withUnsafeBytes { KeyVersions(parsing: $0) } == versions)
      guard !bytes.isEmpty else { continue }
      // Cut anywhere, it is not whole; changed anywhere, it is something else or nothing, and no more.
      let cut = random.below(bytes.count)
      let part = bytes[..<cut].withUnsafeBytes { KeyVersions(parsing: $0) }
      #expect(part != versions)
      bytes[random.below(bytes.count)] ^= UInt8(1 << random.below(8))
      #expect(bytes.withUnsafeBytes { KeyVersions(parsing: $0) } != versions)
    }
  }

  @Test("are not read from garbage")
  func garbage() {
    var random = SeededRandom(seed: 7)
    for _ in 0..<20_000 {
      let bytes = random.bytes(random.below(120))
      _ = bytes.withUnsafeBytes { KeyVersions(parsing: $0) }
      let zeros = [UInt8](repeating: 0, count: random.below(80))
      if !zeros.isEmpty { #expect(zeros.withUnsafeBytes { KeyVersions(parsing: $0) } == nil) }
    }
  }
}
