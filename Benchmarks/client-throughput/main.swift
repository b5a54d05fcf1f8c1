// What the client library does in a second: client-throughput HOST:PORT [TASKS [SECONDS]], with any node of a cluster.
// So many tasks (64) put keys of 16 bytes with values of 100, then get them, for so many seconds (5) each.

import KVClient
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

let keyCount = 100_000

func key(_ number: Int) -> [UInt8] {
  let digits = String(number)
  return Array("key:".utf8) + [UInt8](repeating: UInt8(ascii: "0"), count: 12 - digits.utf8.count)
    + Array(digits.utf8)
}

/// Repeats a call in all tasks until the time is over.
///
/// - Returns: calls that have succeeded, those that have not, and the time.
func measure(
  _ tasks: Int, _ time: Duration,
  _ call: @escaping @Sendable (Int) async throws(KVClientError) -> Void
) async -> (done: Int, failed: Int, seconds: Double) {
  let start = ContinuousClock.now
  let counts = await withTaskGroup(of: (Int, Int).self) { group in
    for task in 0..<tasks {
      group.addTask {
        var (done, failed) = (0, 0)
        var number = task
        while ContinuousClock.now - start < time {
          do throws(KVClientError) {
            try await call(number % keyCount)
            done += 1
          } catch {
            if failed == 0 { print("\(error)") }
            failed += 1
          }
          number += tasks
        }
        return (done, failed)
      }
    }
    return await group.reduce(into: (0, 0)) { ($0.0, $0.1) = ($0.0 + $1.0, $0.1 + $1.1) }
  }
  return (counts.0, counts.1, (ContinuousClock.now - start) / .seconds(1))
}

let arguments = CommandLine.arguments.dropFirst()
guard let first = arguments.first, let seed = try? NodeAddress(parsing: first) else {
  print("usage: client-throughput HOST:PORT [TASKS [SECONDS]]")
  exit(64)
}
let numbers = arguments.dropFirst().map { Int($0) ?? 0 }
let tasks = max(1, numbers.first ?? 64)
let time = Duration.seconds(max(1, numbers.dropFirst().first ?? 5))
let client = KVClient(seeds: [seed])
let value = [UInt8](repeating: UInt8(ascii: "v"), count: 100)

let calls: [(name: String, call: @Sendable (Int) async throws(KVClientError) -> Void)] = [
  ("put", { number throws(KVClientError) in _ = try await client.put(key(number), value) }),
  ("get", { number throws(KVClientError) in _ = try await client.get(key(number)) }),
]
for (name, call) in calls {
  let (done, failed, seconds) = await measure(tasks, time, call)
  print("\(name): \(Int(Double(done) / seconds)) a second, \(tasks) tasks, \(failed) failed")
}
await client.close()
