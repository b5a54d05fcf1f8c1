import Engine
import WAL

/// What somebody wants a node to do about who leads.
struct LifeOrder: Sendable {
  enum Kind: Sendable {
    /// Follow nobody below that epoch of that log.
    case promise(Epoch, origin: UInt64)
    /// Lead.
    ///
    /// - Parameter needed: whose promise it takes in any case.
    case promote(isForced: Bool, needed: String?)
    /// The same behind a hand-over that came to nothing: again and again, until somebody leads.
    case leadAgain
    /// The same where promises that came to nothing keep everybody from leading.
    case fillVacancy
    /// The same, for a node that may not lead without promises, as long as nobody else is to.
    case stand
  }

  let kind: Kind
  /// Called once.
  let answer: @Sendable (LifeAnswer) -> Void

  func refuse(_ reason: String) { answer(.refused(reason, nil)) }
}

/// What came of it.
enum LifeAnswer: Sendable {
  /// The promise was given; what the node has, and whether that may be less than it has acknowledged.
  case standing(Succession.Standing?, promised: Epoch, lacks: Bool)
  /// The node leads; nil of the promotion where it did before.
  case leads(Epoch, at: UInt64, Promotion?)
  /// Too few members can be reached, or have promised.
  case tooFew(Promotion, reached: Int)
  /// Nothing was done, and the highest epoch that is known, where that is why.
  case refused(String, Epoch?)
}
