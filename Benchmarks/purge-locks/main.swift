// For how long a purge keeps readers out: of an index of 1 M keys, 16 bytes and 100 of value, by whole
// stripes and by mixed ones; once alone, and once beside somebody who reads keys that stay.
import Engine
import Glibc
import Sharding
import Synchronization
import WAL

struct Purge {
  var name: String
  /// The number of shards that the index is made for.
  var made: UInt32
  var wanted: UInt32
  var lists = false
}

func fill(_ index: Index, keys: Int) {
  let value = [UInt8](repeating: 0x76, count: 100)
  value.withUnsafeBytes { value in
    for number in 0..<keys {
      let text = String(number)
      let key = Array(("key-" + String(repeating: "0", count: 12 - text.count) + text).utf8)
      key.withUnsafeBytes { key in
        _ = index.put(
          key, value, index.hasher(key), version: UInt64(number + 1), expiry: nil)
      }
    }
  }
}

/// Reads keys that stay, one after the other, until it is told to end.
final class Reader: Sendable {
  let isDone = Atomic(false)
  let longestNanoseconds = Atomic<Int64>(0)

  func run(_ index: Index, _ kept: [[UInt8]]) {
    var number = 0
    while !isDone.load(ordering: .relaxed) {
      let key = kept[number % kept.count]
      number += 7_919
      let start = ContinuousClock.now
      let isThere = key.withUnsafeBytes { index.read($0, index.hasher($0)) { _ in } }
      let time = ContinuousClock.now - start
      precondition(isThere)
      let nanoseconds = time.components.attoseconds / 1_000_000_000
      if nanoseconds > longestNanoseconds.load(ordering: .relaxed) {
        longestNanoseconds.store(nanoseconds, ordering: .relaxed)
      }
    }
  }
}

func milliseconds(_ time: Duration) -> String {
  let micro = Int(time / .microseconds(1))
  let rest = String(micro % 1_000)
  return "\(micro / 1_000).\(String(repeating: "0", count: 3 - rest.count))\(rest)"
}

func keptKeys(_ index: Index, _ range: ShardRange) -> [[UInt8]] {
  var kept: [[UInt8]] = []
  index.forEach { key, _ in
    if kept.count < 10_000, index.hasher.kind(key) % UInt64(range.count) == UInt64(range.index) {
      kept.append(Array(key))
    }
  }
  return kept
}

func measure(_ purge: Purge, keys: Int, reads: Bool) async -> String {
  let index = Index(shardCount: purge.made)
  fill(index, keys: keys)
  if purge.lists {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      if case .ready = index.prepareListing({ continuation.resume() }) { continuation.resume() }
    }
  }
  let range = ShardRange(hash: ShardHash.fnv1.rawValue, index: 0, count: purge.wanted)
  let kept = keptKeys(index, range)
  let reader = Reader()
  let thread = reads ? ThreadHandle { reader.run(index, kept) } : nil
  if reads { usleep(50_000) }
  var locks = LockTimes()
  let start = ContinuousClock.now
  let removed = index.purge(keeping: range, by: .fnv1, locks: &locks)
  let whole = ContinuousClock.now - start
  reader.isDone.store(true, ordering: .relaxed)
  thread?.join()
  index.directory.stop()
  let longest = Duration.nanoseconds(reader.longestNanoseconds.load(ordering: .relaxed))
  return "\(purge.name): \(removed) of \(keys) keys in \(milliseconds(whole)) ms; "
    + "\(locks.count) locks, \(milliseconds(locks.sum)) ms in sum, "
    + "\(milliseconds(locks.longest)) ms the longest"
    + (reads ? "; the slowest read \(milliseconds(longest)) ms" : "")
}

let keys = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 1_000_000
for purge in [
  Purge(name: "doubling, whole stripes", made: 1, wanted: 2),
  Purge(name: "the same, keys listed", made: 1, wanted: 2, lists: true),
  Purge(name: "doubling, mixed stripes", made: 2, wanted: 2),
  Purge(name: "tripling, mixed stripes", made: 1, wanted: 3),
] {
  for reads in [false, true] { print(await measure(purge, keys: keys, reads: reads)) }
}
