import Foundation

/// Threads for clients that block: the pool of tasks has as many as there are cores.
enum Threads {
  /// Runs `body` on that many threads, and returns when all have ended.
  static func run<Value: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value
  ) async throws -> [Value] {
    try await withThrowingTaskGroup(of: (Int, Value).self) { group in
      for index in 0..<count {
        group.addTask { (index, try await runOne { try body(index) }) }
      }
      var values: [Int: Value] = [:]
      for try await (index, value) in group { values[index] = value }
      return (0..<count).map { values[$0]! }
    }
  }

  /// The same, and something else beside them.
  static func run<Value: Sendable, Other: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value,
    meanwhile: () async throws -> Other
  ) async throws -> ([Value], Other) {
    async let values = run(count, body)
    let other = try await meanwhile()
    return (try await values, other)
  }

  static func runOne<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      Thread { continuation.resume(with: Result { try body() }) }.start()
    }
  }
}
