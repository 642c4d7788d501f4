"""What the commands do, one file each; options are read in cli/, results shown in terminal/."""
