/// A wrong rule for a simulated node: what shows that the simulation would find it.
enum SimulationMutant: CaseIterable, Sendable {
  /// A follower acknowledges what it has not synced.
  case acknowledgesBeforeSync
  /// A restart forgets what was promised.
  case forgetsPromise
  /// Who has promised goes on following whom it followed.
  case followsBehindPromise
  /// A promotion takes one promise less.
  case takesFewerPromises
  /// Who has promised acknowledges what it gets since of older epochs, to whom it fetches it from.
  case acknowledgesBelowPromise
  /// A record of an older epoch is confirmed before the newest epoch's first one, and who follows
  /// acknowledges those, too.
  case confirmsOlderEpochs
  /// A promotion takes a log for enough that is as long as the best one, of an older epoch though.
  case comparesNumbersOnly
  /// A promotion does not look whether its epoch is still above that of what it has fetched.
  case beginsBelowItsLog
  /// The promise of a member that had to cut its log counts like any other.
  case countsPromisesOfCutLogs
  /// A leader that had to cut its log begins a new epoch without asking for promises.
  case beginsWithoutPromises
  /// A read asks one member less.
  case readsFromFewer
  /// An acknowledgement counts by its number alone, of whatever history it is.
  case countsOtherHistories

  /// Those that seeds find; the others have a scenario of their own.
  static let foundBySeeds = allCases.filter { $0 != .countsOtherHistories }
}
