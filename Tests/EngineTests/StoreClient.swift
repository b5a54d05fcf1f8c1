import Engine
import WAL

/// Submits to a store and waits.
final class StoreClient: SubmissionOwner {
  // Submissions that came back and were not waited for.
  private let returned = Monitor<[Submission]>([])

  func completed(_ submission: Submission) {
    returned.signal { $0.append(submission) }
  }

  /// Submits what `fill` adds, and waits until it is back.
  @discardableResult
  func submit(to store: Store, _ fill: (Submission) -> Void = { _ in }) -> Submission {
    let submission = Submission(owner: self)
    fill(submission)
    store.committer.submit(submission)
    let back = returned.wait { $0.isEmpty ? nil : $0.removeFirst() }
    precondition(back === submission)
    return submission
  }

  @discardableResult
  func put(_ key: String, _ value: String, in store: Store) -> WriteRequest {
    submit(to: store) { $0.put(key, value, store.index) }.requests[0]
  }

  @discardableResult
  func delete(_ key: String, in store: Store) -> WriteRequest {
    submit(to: store) { $0.delete(key, store.index) }.requests[0]
  }
}

extension Store {
  func value(_ key: String) -> String? {
    index.get(utf8(key)).map { String(decoding: $0.value, as: UTF8.self) }
  }
}
